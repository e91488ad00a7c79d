"""How findings name things: numbers with their nouns, lists, versions, precisions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from reportlib.compare.origins import beyond_torch
from reportlib.compare.unseen import unseen_share

#: A percent sign with the space before it, which no line may end at.
_PERCENT = "\N{NO-BREAK SPACE}%"

_IRREGULAR = {
    "query": "queries",
    "further query": "further queries",
    "judged query": "judged queries",
    "pass": "passes",
}


def count(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 passage``, ``4,162 indices`` (regular plurals in s)."""
    return f"{number:,} {noun if number == 1 else _IRREGULAR.get(noun, noun + 's')}"


def listing(items: Iterable[str], most: int = 8) -> str:
    """Return ``a, b and c``; what exceeds `most` is counted."""
    known = list(items)
    if len(known) > most:
        known = [*known[: most - 1], f"{len(known) - most + 1} more"]
    if len(known) < 2:
        return "".join(known)
    return f"{', '.join(known[:-1])} and {known[-1]}"


def code(names: Iterable[str], most: int = 8) -> str:
    """Return names as code, listed; ``index/codes`` is written ``codes``."""
    return listing([f"`{name.removeprefix('index/')}`" for name in names], most)


def labels(environments: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return what to call each environment, by its name.

    ``PyTorch 2.1.0``; ``PyTorch 2.1.0 with transformers 4.40.1`` where others have the same PyTorch; the environment's
    own name where neither tells it, or where its PyTorch is not known.
    """
    whole = {e["name"]: str(e["torch"].get("version") or "") for e in environments}
    short = {name: version.partition("+")[0] for name, version in whole.items()}
    found = {}
    for name, version in short.items():
        alike = [e for e in environments if short[e["name"]] == version]
        if not version:
            found[name] = name
        elif len(alike) == 1:
            found[name] = f"PyTorch {version}"
        elif len({whole[e["name"]] for e in alike}) == len(alike):
            found[name] = f"PyTorch {whole[name]}"
        elif told := _told_apart(alike, name):
            found[name] = f"PyTorch {version} {told}"
        else:
            found[name] = name
    return found


def _told_apart(alike: Sequence[Mapping[str, Any]], name: str) -> str:
    """Return the fewest differences beside torch that tell environments of one torch apart, as one of them has them."""
    place = [e["name"] for e in alike].index(name)
    seen: list[tuple[str | None, ...]] = []
    said = []
    for package, versions in beyond_torch(alike).items():
        seen.append(versions)
        said.append(f"with {package} {versions[place]}" if versions[place] else f"without {package}")
        if len(set(zip(*seen, strict=True))) == len(alike):
            return " and ".join(said).replace("and with ", "and ")
    return ""


def sides(environments: Sequence[Mapping[str, Any]], pair: Mapping[str, Any]) -> tuple[str, str]:
    """Return what to call the two environments of a pair."""
    known = labels(environments)
    return known.get(pair["a"], pair["a"]), known.get(pair["b"], pair["b"])


def precision(name: str, device: str) -> str:
    """Return a precision with the dtype that it means on this device."""
    if name != "autocast":
        return name
    return "float16 autocast" if device == "cuda" else "bfloat16 autocast"


def factor(ratio: float | None) -> float | None:
    """Return how many times the smaller of two errors goes into the larger; None where one of them is zero."""
    return max(ratio, 1 / ratio) if ratio else None


def times(number: float | None) -> str:
    """Return a factor as a reader says it: ``1.3``, ``24``, ``1,200``; empty for none."""
    if number is None:
        return ""
    rounded = float(f"{number:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:.1f}" if rounded >= 1 else f"{rounded:.2g}"


def percent(share: float) -> str:
    """Return a share as a percentage of two digits, with a no-break space: ``0.25 %``, ``3.1 %``, ``100 %``."""
    value = 100 * share
    return f"{value:.0f}{_PERCENT}" if value >= 10 else f"{value:.2g}{_PERCENT}"


def small(number: float) -> str:
    """Return a number of two digits below one, and three above: ``0.0042``, ``1.33``."""
    return f"{number:.2g}" if abs(number) < 1 else f"{number:.3g}"


def signed(number: float) -> str:
    """Return a change with its sign: ``+0.0042``, ``−0.011``, ``0``."""
    return f"{'+' if number > 0 else '−'}{small(abs(number))}" if number else "0"


def unseen(queries: int, confidence: float) -> str:
    """Return as a percentage what share of queries could change without any of `queries` drawn ones showing it."""
    return percent(unseen_share(queries, confidence))


def between(low: float, high: float, said: Callable[[float], str] = small) -> str:
    """Return two ends as `said`, the unit once: ``0.0012 to 0.3``, ``1.6 to 5.2 %``; one where they read the same."""
    first, last = said(low), said(high)
    return last if first == last else f"{first.removesuffix(_PERCENT)} to {last}"


def interval(low: float, high: float, confidence: float, said: Callable[[float], str] = small) -> str:
    """Return an interval and how sure it is: ``95 % interval 1.6 to 5.2 %``."""
    return f"{percent(confidence)} interval {said(low).removesuffix(_PERCENT)} to {said(high)}"
