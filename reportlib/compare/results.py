"""What a comparison of two tensors says: records of numbers, and one sentence drawn from them."""

from __future__ import annotations

from dataclasses import dataclass

from reportlib.compare.sets import Integers

#: Between small numbers of unlike sign lie millions of others: a distance that tells nothing.
TELLING_ULP = 65_536
#: Verdicts, from DESIGN.md.
VERDICTS = ("identical", "close", "same set", "different", "shape mismatch", "missing")


@dataclass(frozen=True)
class Side:
    """What is known of one side's artifact by itself.

    Attributes
    ----------
    dtype : str
        As torch prints it.
    shape : tuple of int
        Of the chunks together.
    sha256 : tuple of str
        Of each chunk, from the manifest.
    rows : tuple of int
        Length of each chunk's first axis.
    nan, inf : int or None
        How many; None where the dtype has neither.
    """

    dtype: str
    shape: tuple[int, ...]
    sha256: tuple[str, ...]
    rows: tuple[int, ...]
    nan: int | None = None
    inf: int | None = None


@dataclass(frozen=True)
class ChunkDifference:
    """How many values differ along one of A's chunks (`start` to `stop` in rows)."""

    name: str
    start: int
    stop: int
    different: int


@dataclass(frozen=True)
class TensorComparison:
    """How artifact B differs from artifact A. ``docs/schema.md`` describes every field.

    Distances are over pairs of finite numbers, in float64; None where there is no such pair or they
    make no sense (unequal shapes). `max_ulp` and the tolerances need equal dtypes.
    """

    verdict: str
    a: Side
    b: Side
    tolerance: str | None = None
    elements: int | None = None
    different: int | None = None
    different_bits: int | None = None
    first_index: tuple[int, ...] | None = None
    mean_abs: float | None = None
    max_abs: float | int | None = None
    max_abs_index: tuple[int, ...] | None = None
    max_rel: float | None = None
    max_ulp: int | None = None
    default: bool | None = None
    bnb: bool | None = None
    default_close: int | None = None
    bnb_close: int | None = None
    smallest_atol: float | None = None
    bnb_factor: float | None = None
    no_tolerance_passes: bool = False
    same_set: str | None = None
    groups: int | None = None
    groups_equal: int | None = None
    chunks: tuple[ChunkDifference, ...] = ()


@dataclass(frozen=True)
class Groups:
    """How long each group is on each side (int64): within one, order means nothing."""

    a: Integers
    b: Integers


@dataclass(frozen=True)
class ValueDifference:
    """The first place where two plain values differ, and how many places do.

    Attributes
    ----------
    path : str
        JSON pointer into the value.
    a, b : str or None
        What stands there, shortened; None where nothing does.
    different, total : int
        Of the numbers, strings and nulls that a value is made of, counting those on one side only.
    """

    path: str
    a: str | None
    b: str | None
    different: int
    total: int


def describe(found: TensorComparison) -> str:
    """Return the comparison in a sentence or two."""
    if found.verdict == "shape mismatch":
        text = f"Shapes differ: {_typed(found.a)} in A, {_typed(found.b)} in B."
        if found.groups:
            text += f" {found.groups_equal:,} of {found.groups:,} groups hold the same set."
        return text
    if found.verdict == "same set" and found.a.shape != found.b.shape:
        return _padding(found)
    if found.verdict == "identical":
        text = f"Identical: all {found.elements:,} elements have the same bytes."
        return text + _nans(found)
    if found.a.dtype != found.b.dtype:
        return (
            f"The dtypes differ: {found.a.dtype} in A, {found.b.dtype} in B. "
            f"{_differ(found.different, found.elements, 'value')}{_by_at_most(found)}."
        )
    if found.default is None:
        return _integers(found)
    return _floats(found)


def _differ(part: int | None, whole: int | None, noun: str) -> str:
    """Return ``The one value differs``, ``All 96 values differ``, ``1 of 96 values differs``."""
    part, whole = part or 0, whole or 0
    verb = "differs" if part == 1 else "differ"
    if part == whole > 0:
        return f"The one {noun} differs" if whole == 1 else f"All {whole:,} {noun}s differ"
    return f"{part:,} of {whole:,} {noun}{'s' * (whole != 1)} {verb}"


def _times(factor: float) -> str:
    """Return a factor as a reader says it: ``11.4``, ``4,390``; powers of ten only from a million on."""
    rounded = float(f"{factor:.3g}")
    return f"{rounded:,.0f}" if 100 <= rounded < 1e6 else f"{rounded:.3g}"


def _typed(side: Side) -> str:
    return f"{side.dtype} {list(side.shape)}"


def _by_at_most(found: TensorComparison) -> str:
    return "" if found.max_abs is None else f", by {found.max_abs:.3g} at most"


def _nans(found: TensorComparison) -> str:
    if not (found.a.nan or found.b.nan):
        return ""
    return f" NaNs: {found.a.nan or 0:,} in A, {found.b.nan or 0:,} in B; a NaN is close to nothing."


def _integers(found: TensorComparison) -> str:
    text = _differ(found.different, found.elements, "element")
    if found.same_set == "whole":
        return f"{text}; both sides hold the same numbers in another order."
    if found.same_set == "per group":
        return f"{text}; every one of {found.groups:,} groups holds the same set in another order."
    if found.groups is not None:
        return f"{text}; {found.groups_equal:,} of {found.groups:,} groups hold the same set."
    return f"{text}{_by_at_most(found)}."


def _padding(found: TensorComparison) -> str:
    order = " in another order" if found.different else ""
    zeros_a, zeros_b = (side.shape[0] - (found.elements or 0) for side in (found.a, found.b))
    return (
        f"Every one of {found.groups:,} groups holds the same set{order}; "
        f"what differs is the padding after the last: {zeros_a:,} zeros in A, {zeros_b:,} zeros in B."
    )


def _floats(found: TensorComparison) -> str:
    if found.different == 0:
        whose = "its" if found.different_bits == 1 else "their"
        return f"{_differ(found.different_bits, found.elements, 'element')} in {whose} bytes, no value does."
    text = f"{_differ(found.different, found.elements, 'value')}{_by_at_most(found)}"
    if found.max_ulp and found.max_ulp <= TELLING_ULP:
        text += f" ({found.max_ulp:,} ULP)"
    if found.tolerance:
        return f"{text}; they are close by the {found.tolerance} tolerance."
    if found.no_tolerance_passes:
        return f"{text}; no tolerance passes." + _nans(found)
    return (
        f"{text}; neither tolerance passes: it would take atol = {found.smallest_atol:.3g} with "
        f"rtol = 0, or {_times(found.bnb_factor or 0)} times the bnb tolerance."
    )
