"""Sentences as templates: prose that an editor can read, filled with typed facts, never cut or rewritten afterwards."""

from __future__ import annotations

import functools
import re
from typing import Any

import jinja2

from reportlib.words import formats

#: How templates write numbers and lists, in text and in HTML alike.
FILTERS = {
    name: getattr(formats, name)
    for name in (
        "amount",
        "at_most",
        "code",
        "count",
        "decimals",
        "dtype",
        "excerpt",
        "listing",
        "of",
        "percent",
        "plural",
        "shape",
        "share",
        "signed",
        "size",
        "times",
    )
}


def environment(loader: jinja2.BaseLoader, *, html: bool) -> jinja2.Environment:
    """Return a Jinja environment with the project's filters; what a template does not get is an error."""
    made = jinja2.Environment(
        loader=loader,
        autoescape=html,  # noqa: S701 plain sentences are escaped where they become HTML
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.do"],
    )
    made.filters |= FILTERS
    made.globals |= {
        "between": formats.between,
        "count": formats.count,
        "interval": formats.interval,
        "plural": formats.plural,
        "share": formats.share,
        "signed": formats.signed,
        "unseen": formats.unseen,
        "absent": formats.ABSENT,
    }
    return made


@functools.cache
def _macros(package: str, name: str) -> Any:
    loader = jinja2.PackageLoader(package, "")
    return environment(loader, html=False).get_template(name).module


def say(package: str, name: str, macro: str, **facts: Any) -> str:
    """Fill one macro of a package's template with facts.

    Parameters
    ----------
    package : str
        Where the template stands: ``reportlib.findings``.
    name : str
        Its file.
    macro : str
        Which of its sentences.
    **facts
        What the macro takes.

    Returns
    -------
    str
        The text on one line: line breaks of the template are spaces.
    """
    text = str(getattr(_macros(package, name), macro)(**facts))
    # Not `split()`: a no-break space is to stay one. A template's lines may end before a comma.
    return re.sub(r" (?=[.,;])", "", re.sub(r"[ \n]+", " ", text)).strip()
