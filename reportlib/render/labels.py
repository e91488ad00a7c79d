"""How the page draws verdicts, answers and headings, and names what it measured on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reportlib.render.html import Html, anchor, fragment
from reportlib.words import formats

#: Every verdict with a sign of its own, so that nothing is told by colour alone; from best to worst.
SIGNS: dict[str, str] = {
    "identical": "=",
    "close": "≈",
    "same set": "⇄",
    "different": "≠",
    "shape mismatch": "⊠",
    "missing": "?",
}
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


def telling_variables(environment: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment variables of an environment's runs that a reader would not expect."""
    recorded = environment["environment_variables"] or {}
    return {name: value for name, value in recorded.items() if name not in _ORDINARY}


def badge(verdict: str, text: str = "") -> Html:
    """Draw a verdict: its sign, its word and, last, its colour."""
    return fragment("badge", kind=anchor(verdict), sign=SIGNS.get(verdict, "?"), text=text or verdict)


def answer(holds: bool | None, yes: str, no: str, unknown: str = formats.ABSENT, *, plain: bool = False) -> Html:
    """Draw the answer to a yes-or-no question as a verdict is drawn; plainly where neither is the better one."""
    kind, sign = {True: ("identical", "✓"), False: ("different", "✗"), None: ("missing", "?")}[holds]
    if plain:
        kind = "plain"
    return fragment("badge", kind=kind, sign=sign, text={True: yes, False: no, None: unknown}[holds])


def sure(word: str) -> Html:
    """Draw how sure an explanation is: *proven*, *candidate* or *unknown*."""
    kind, sign = {"proven": ("plain", "✓"), "candidate": ("plain", "≈")}.get(word, ("plain", "?"))
    return fragment("badge", kind=kind, sign=sign, text=word)


def recorded_pass(entry: Mapping[str, Any]) -> str:
    """Return what to call a recorded pass: ``“a”`` for a text that is one, otherwise its description."""
    called = str(entry["description"])
    return f"“{called}”" if len(called) <= _SHORT_TEXT else called


def layer(name: str) -> str:
    """Return a layer's name without leading zeros: ``3`` for ``03``."""
    return str(int(name)) if name.isdigit() else name


def heading(text: str, slug: str, level: int = 3) -> Html:
    """Draw a heading that can be linked to; `slug` is its id, unique on the page."""
    return fragment("heading", text=text, slug=slug, level=level)
