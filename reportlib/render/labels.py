"""How the page names things: verdicts, precisions, environments, and the posts' experiments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from reportlib.render.html import Html, anchor, fragment, join
from reportlib.words import formats
from reportlib.words.environments import labels, precision

#: Every verdict with a sign of its own, so that nothing is told by colour alone; from best to worst.
SIGNS: dict[str, str] = {
    "identical": "=",
    "close": "≈",
    "same set": "⇄",
    "different": "≠",
    "shape mismatch": "⊠",
    "missing": "?",
}
#: Where the posts were measured, quoted from them.
POST_PLATFORM = "an NVIDIA L4 GPU under float16 autocast"
#: Environment variables of every run, so that they tell a reader nothing; threads have a line of their own.
_ORDINARY = {
    "CUDA_VISIBLE_DEVICES",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TOKENIZERS_PARALLELISM",
}
#: Descriptions of passes of at most this many characters are texts that were encoded; others say what was run.
_SHORT_TEXT = 12


@dataclass(frozen=True)
class Part:
    """One precision of one pair of environments: what most sections repeat.

    Attributes
    ----------
    pair, precision : mapping
        Entries of the report.
    a, b : str
        The two environments, as the page names them.
    label : str
        Of the part: ``bfloat16 autocast, 64 passages``; with the pair before it where there are several.
    title : str
        Of its headings: ``Under bfloat16 autocast, 64 passages``.
    slug : str
        For ids: ``float32``, or ``torch210-float32`` where there are several pairs.
    """

    pair: Mapping[str, Any]
    precision: Mapping[str, Any]
    a: str
    b: str
    label: str
    title: str
    slug: str


def parts(report: Mapping[str, Any]) -> Iterator[Part]:
    """Yield every precision of every pair, in the report's order."""
    several = len(report["pairs"]) > 1
    for pair in report["pairs"]:
        a, b = torch(report, pair["a"]), torch(report, pair["b"])
        for entry in pair["precisions"]:
            label = f"{arithmetic(report, entry['precision'])}, {formats.plural(entry['passages'], 'passage')}"
            slug = anchor(entry["precision"])
            title = f"{'Under' if entry['precision'] == 'autocast' else 'In'} {label}"
            if several:
                label, title = f"{a} and {b}, {label}", f"{a} and {b}, {title[:1].lower()}{title[1:]}"
                slug = f"{anchor(pair['b'])}-{slug}"
            yield Part(pair, entry, a, b, label, title, slug)


def torch(report: Mapping[str, Any], environment: str) -> str:
    """Return an environment's name on the page, the one that findings use."""
    return labels(report["environments"]).get(environment, environment)


def telling_variables(environment: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment variables of an environment's runs that a reader would not expect."""
    recorded = environment["environment_variables"] or {}
    return {name: value for name, value in recorded.items() if name not in _ORDINARY}


def arithmetic(report: Mapping[str, Any], name: str) -> str:
    """Return a precision with the dtype that it means on the study's device: ``bfloat16 autocast`` on a CPU."""
    return precision(name, report["study"]["device"])


def processor(report: Mapping[str, Any]) -> str:
    """Return what computed: the GPU for a study on one, otherwise ``a CPU``."""
    if report["study"]["device"] == "cuda":
        return str(report["platform"]["gpu"] or "a CUDA GPU")
    return "a CPU"


def badge(verdict: str, text: str = "") -> Html:
    """Draw a verdict: its sign, its word and, last, its colour."""
    return fragment("badge", kind=anchor(verdict), sign=SIGNS.get(verdict, "?"), text=text or verdict)


def answer(holds: bool | None, yes: str, no: str, unknown: str = formats.ABSENT, *, plain: bool = False) -> Html:
    """Draw the answer to a yes-or-no question as a verdict is drawn; plainly where neither is the better one."""
    kind, sign = {True: ("identical", "✓"), False: ("different", "✗"), None: ("missing", "?")}[holds]
    if plain:
        kind = "plain"
    return fragment("badge", kind=kind, sign=sign, text={True: yes, False: no, None: unknown}[holds])


def recorded_pass(entry: Mapping[str, Any]) -> str:
    """Return what to call a recorded pass: ``“a”`` for a text that is one, otherwise its description."""
    told = str(entry["description"])
    return f"“{told}”" if len(told) <= _SHORT_TEXT else told


def replayed(part: int, whole: int) -> str:
    """Return ``all 18 replayed``, ``6 of 18 replayed`` or ``the one replayed``."""
    if part == whole == 1:
        return "the one replayed"
    return f"{'all ' if part == whole else f'{formats.count(part)} of '}{formats.count(whole)} replayed"


def label(text: str) -> Html:
    """Draw how sure a mechanism is: *proven*, *candidate* or *unknown*."""
    kind, sign = {"proven": ("identical", "✓"), "candidate": ("close", "≈")}.get(text, ("missing", "?"))
    return fragment("badge", kind=kind, sign=sign, text=text)


def counts(summary: Mapping[str, int]) -> Html:
    """Draw how many artifacts have each verdict, best first; verdicts that none has are left out."""
    return join([badge(v, f"{formats.count(summary[v])} {v}") for v in SIGNS if summary.get(v)])


def identical(part: int, whole: int, noun: str = "final artifact") -> str:
    """Return a clause: ``all 8 final artifacts are identical``, ``none of the 8 ... is``, ``1 of the 8 ... is``."""
    if part == whole:
        return f"all {formats.plural(whole, noun)} are identical" if whole != 1 else f"the one {noun} is identical"
    start = "none" if part == 0 else formats.count(part)
    return f"{start} of the {formats.plural(whole, noun)} {'is' if part < 2 else 'are'} identical"


def layer(name: str) -> str:
    """Return a layer's name without leading zeros: ``3`` for ``03``."""
    return str(int(name)) if name.isdigit() else name


def heading(text: str, slug: str, level: int = 3) -> Html:
    """Draw a heading that can be linked to.

    Parameters
    ----------
    text : str
        Its words.
    slug : str
        Its id, unique on the page.
    level : int
        3 below a section of the notebook, 4 below such a heading.
    """
    return fragment("heading", text=text, slug=slug, level=level)
