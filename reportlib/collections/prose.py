"""Real prose out of numpydoc docstrings: no signatures, tables, doctests or bare names."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Sections whose entries are "name : type" lines with an indented description.
_ITEMS = {
    "parameters", "other parameters", "keyword parameters", "optional parameters", "arguments",
    "args", "returns", "return", "yields", "receives", "raises", "warns", "attributes", "methods",
}  # fmt: skip
#: Sections that hold names, citations or code and no prose.
_SKIPPED = {"see also", "references", "examples", "example", "index"}
_UNDERLINE = re.compile(r"^\s*([-=~^*+#])\1{2,}\s*$")
_TABLE = re.compile(r"^\s*(={3,}(\s+={3,})+|\+[-=+]{3,}|\|.*\||[-=]{3,}(\s+[-=]{3,})*)\s*$")
_DIRECTIVE = re.compile(r"^\s*\.\.(\s|$)")
_KEPT_DIRECTIVE = re.compile(r"^\s*\.\. (note|warning|admonition|tip|important)::\s*(.*)$")
_BULLET = re.compile(r"^\s*([-*+•]|\d+[.)]|\(\d+\)|\w\))\s+")
_MARKER = re.compile(r"^\s*[-*+•]\s+(?=[^\s\d])")
_SIGNATURE = re.compile(r"^[\w.]+\s*\(.*\)(\s*->\s*\S.*)?$|^[\w., ]+ = [\w.]+\(.*\)$")
_MARKUP = (
    (re.compile(r"\s*\[[\w-]+\]_"), ""),
    (re.compile(r":[\w:-]+:`~?([^`<]+?)(\s*<[^`>]*>)?`"), r"\1"),
    (re.compile(r"`([^`<]+?)\s*<[^`>]*>`_+"), r"\1"),
    (re.compile(r"``(.+?)``"), r"\1"),
    (re.compile(r"`~?([^`]+)`_?"), r"\1"),
    (re.compile(r"(?<!\w)\*\*(\S(?:.*?\S)?)\*\*(?!\w)"), r"\1"),
    (re.compile(r"(?<![\w*])\*(\S(?:.*?\S)?)\*(?![\w*])"), r"\1"),
    (re.compile(r"::(?=\s|$)"), ":"),
)
_END = re.compile(r"[.!?:;)\"']$")


@dataclass(frozen=True)
class Docstring:
    """What a docstring says in prose.

    Attributes
    ----------
    summary : str
        The summary line; empty when the docstring does not begin with one.
    paragraphs : tuple of str
        The rest, one line each, in order. A parameter's description has its name before it.
    """

    summary: str
    paragraphs: tuple[str, ...]


def words(text: str) -> list[str]:
    """Return the words of `text`: what stands between white space."""
    return text.split()


def read_docstring(text: str) -> Docstring:
    """Take the prose out of a raw docstring."""
    blocks = _blocks(_dedent(text))
    while blocks and (_SIGNATURE.match(" ".join(line.strip() for line in blocks[0]))):
        blocks = blocks[1:]
    summary = ""
    if blocks and len(blocks[0]) <= 3 and not _heading(blocks[0]):
        candidate = _plain(blocks[0])
        if is_prose(candidate, least=3):
            summary, blocks = candidate, blocks[1:]
    paragraphs = [p for p in _paragraphs(blocks) if is_prose(p) and not (summary and summary in p)]
    return Docstring(summary, tuple(dict.fromkeys(paragraphs)))


def is_prose(text: str, least: int = 5) -> bool:
    """Say whether `text` reads as a sentence: mostly words, properly ended."""
    found = words(text)
    if len(found) < least or any(mark in text for mark in (">>>", "\\", "$", "{", "%(", "===", "---")):
        return False
    solid = text.replace(" ", "")
    letters = sum(character.isalpha() for character in solid)
    plain = sum(word.strip(".,;:()'\"").isalpha() for word in found)
    return letters >= 0.75 * len(solid) and plain >= 0.6 * len(found) and bool(_END.search(text))


def _dedent(text: str) -> list[str]:
    lines = text.expandtabs().splitlines()
    margins = [len(line) - len(line.lstrip()) for line in lines[1:] if line.strip()]
    margin = min(margins, default=0)
    return [lines[0].strip(), *(line[margin:].rstrip() for line in lines[1:])] if lines else []


def _blocks(lines: list[str]) -> list[list[str]]:
    """Split lines at blank ones, and a heading from what follows it without one."""
    blocks: list[list[str]] = [[]]
    for number, line in enumerate(lines):
        following = lines[number + 1] if number + 1 < len(lines) else ""
        if not line.strip():
            blocks.append([])
        elif _UNDERLINE.match(following) and not _UNDERLINE.match(line):
            blocks.append([line])
        elif _UNDERLINE.match(line) and blocks[-1] and len(blocks[-1]) == 1:
            blocks[-1].append(line)
            blocks.append([])
        else:
            blocks[-1].append(line)
    return [block for block in blocks if block]


def _heading(block: list[str]) -> bool:
    return len(block) == 2 and bool(_UNDERLINE.match(block[1])) and not block[0].startswith(" ")


def _paragraphs(blocks: list[list[str]]) -> list[str]:
    section, skip_deeper_than = "", -1
    found: list[str] = []
    for block in blocks:
        indent = len(block[0]) - len(block[0].lstrip())
        if _heading(block):
            section, skip_deeper_than = block[0].strip().lower().rstrip(":"), -1
            continue
        if section in _SKIPPED or (0 <= skip_deeper_than < indent):
            continue
        skip_deeper_than = -1
        if _DIRECTIVE.match(block[0]):
            kept = _KEPT_DIRECTIVE.match(block[0])
            if kept is None:
                skip_deeper_than = indent
                continue
            block = [kept[2], *block[1:]]
        if any(_TABLE.match(line) or line.lstrip().startswith(">>>") for line in block):
            continue
        found += _items(block) if section in _ITEMS else _bullets(block)
        if block[-1].endswith("::"):
            skip_deeper_than = indent
    return found


def _items(block: list[str]) -> list[str]:
    """Read "name : type" lines with descriptions; one without a name goes on from before."""
    found: list[tuple[str, list[str]]] = []
    for line in block:
        if not line.startswith(" "):
            found.append((line.split(":")[0].strip().rstrip(","), []))
        elif found:
            found[-1][1].append(line)
        else:
            found.append(("", [line]))
    described = ((name, _plain(_until_directive(lines))) for name, lines in found)
    return [f"{_plain([name])}: {text}" if _names(name) else text for name, text in described if text]


def _names(name: str) -> bool:
    return bool(re.fullmatch(r"[\w*.`]+(, [\w*.`]+)*", name))


def _until_directive(lines: list[str]) -> list[str]:
    for number, line in enumerate(lines):
        if _DIRECTIVE.match(line) or line.lstrip().startswith(">>>"):
            return lines[:number]
    return lines


def _bullets(block: list[str]) -> list[str]:
    """Return the block as one paragraph, or one paragraph an item of a list."""
    items: list[list[str]] = [[]]
    for line in _until_directive(block):
        if _BULLET.match(line):
            items.append([_BULLET.sub("", line)])
        else:
            items[-1].append(line)
    return [_plain(item) for item in items if item]


def _plain(lines: list[str]) -> str:
    text = " ".join(" ".join(_MARKER.sub("", line) for line in lines).split())
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    return text.strip()
