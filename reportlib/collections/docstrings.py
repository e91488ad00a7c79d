"""The offline default collection: the prose of numpy's docstrings, read from a pinned wheel.

The wheel is unpacked and parsed with `ast`, never imported, so the text depends on nothing but the
wheel. A docstring gives passages of nearly one length (its sentences in order, as many as fit) and one
known-item query: its summary line, whose relevant passages are those of the same docstring. The summary
line itself is in no passage, so that a query is not answered by its own words. Passages are ordered by
the sha256 of their id: a slice from the start is a fair sample. One length, because colbert-ai pads every
passage of a block to the longest one: of mixed lengths, most of BERT's work would be padding.
"""

from __future__ import annotations

import ast
import hashlib
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from reportlib.collections.folder import Entry, Judged

# Real prose out of numpydoc docstrings: no signatures, tables, doctests or bare names.

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
#: The names that an item describes.
_NAMES = re.compile(r"[\w*.`]+(, [\w*.`]+)*")


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
    return [f"{_plain([name])}: {text}" if _NAMES.fullmatch(name) else text for name, text in described if text]


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


#: How long a passage is (`length`).
LEAST, MOST = 54, 64
#: Where a sentence may be cut that does not fit.
_CLAUSE = re.compile(r"(?<=[,;:]) ")
_SENTENCE = re.compile(r"(?<=[.;!?]) ")
_PIECE = re.compile(r"[A-Za-z]+|[^\sA-Za-z]")
#: Words of a query: what is shorter says too little.
LEAST_QUERY = 4
#: Folders whose text is about numpy's own building and testing, or repeats that of others.
LEFT_OUT = {"tests", "testing", "distutils", "f2py", "array_api"}

_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class DocstringSource:
    """Passages, queries and judgements from the Python files under a folder.

    Attributes
    ----------
    root : Path
        The folder that holds the package, for example ``numpy`` of the unpacked wheel.
    sentence : str
        What the report says of the collection.
    licence : str
        Of the text.
    """

    root: Path
    sentence: str
    licence: str

    def passages(self) -> Iterator[Entry]:
        """Yield every passage, ordered by the sha256 of its id."""
        for name, text in self._passages.items():
            yield Entry(name, text, self._where(name))

    def queries(self) -> Iterator[Entry]:
        """Yield one query per different summary line of a docstring that has passages."""
        for query in sorted(self._relevant, key=_mixed):
            yield Entry(query, self._relevant[query][0], self._where(query))

    def judgements(self) -> Iterator[Judged]:
        """Yield query and passage of the same docstring, with grade 1."""
        for query in sorted(self._relevant, key=_mixed):
            for passage in self._relevant[query][1]:
                yield Judged(query, passage, 1, self._where(query))

    @cached_property
    def _documents(self) -> dict[str, Docstring]:
        """Every docstring by its dotted name, files in the order of their path."""
        found: dict[str, Docstring] = {}
        for path in sorted(self.root.rglob("*.py"), key=lambda p: p.relative_to(self.root).parts):
            parts = path.relative_to(self.root.parent).with_suffix("").parts
            if LEFT_OUT.intersection(parts):
                continue
            module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            for name, text in docstrings(path.read_text(encoding="utf-8"), module):
                # A name may be documented twice, for example under an `if` and its `else`.
                while name in found:
                    name += "~"
                found[name] = read_docstring(text)
        return found

    @cached_property
    def _passages(self) -> dict[str, str]:
        texts = {
            f"{name}#{number}": text
            for name, document in self._documents.items()
            for number, text in enumerate(join(document.paragraphs))
        }
        # Equal texts would be equally relevant, and only one of them judged so: keep the first.
        first = {texts[name]: name for name in sorted(texts, key=_mixed, reverse=True)}
        return {first[text]: text for text in sorted(first, key=lambda text: _mixed(first[text]))}

    @cached_property
    def _relevant(self) -> dict[str, tuple[str, list[str]]]:
        """Summary and relevant passages by query id; docstrings with one summary share a query."""
        passages: dict[str, list[str]] = {}
        for passage in sorted(self._passages):
            passages.setdefault(passage.rsplit("#", 1)[0], []).append(passage)
        by_summary: dict[str, tuple[str, list[str]]] = {}
        for name, document in self._documents.items():
            summary = document.summary
            if name in passages and len(words(summary)) >= LEAST_QUERY and not summary.endswith(":"):
                by_summary.setdefault(summary, (name, []))[1].extend(passages[name])
        return {name: (summary, found) for summary, (name, found) in by_summary.items()}

    def _where(self, name: str) -> str:
        return f"the docstring of {name.split('#', maxsplit=1)[0]} under {self.root}"


def _mixed(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def docstrings(code: str, module: str) -> Iterator[tuple[str, str]]:
    """Yield the dotted name and the raw docstring of everything documented in a module's code.

    Parameters
    ----------
    code : str
        Python source; it is parsed and not run.
    module : str
        The module's dotted name.

    Yields
    ------
    tuple of str
        Name and text, in source order. numpy documents its C functions by calls of
        ``add_newdoc(place, name, doc)``, where ``doc`` is a string, a pair (attribute, string) or a
        list of such pairs; those are read too.
    """
    with warnings.catch_warnings():
        # numpy 1.26 has escapes in docstrings that newer Pythons warn about.
        warnings.simplefilter("ignore")
        tree = ast.parse(code)
    yield from _of_node(tree, module)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from _of_call(node)


def _of_node(node: _Documented, name: str) -> Iterator[tuple[str, str]]:
    text = ast.get_docstring(node, clean=False)
    if text:
        yield name, text
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _of_node(child, f"{name}.{child.name}")


def _of_call(call: ast.Call) -> Iterator[tuple[str, str]]:
    if not isinstance(call.func, ast.Name) or not call.func.id.startswith("add_newdoc"):
        return
    try:
        values = [ast.literal_eval(argument) for argument in call.args]
    except ValueError:
        return  # a docstring put together at run time
    if len(values) != 3:
        return
    place, name, document = values
    if call.func.id == "add_newdoc_for_scalar_type":
        place, name = "numpy.core.numerictypes", place
    if not str(place).startswith("numpy"):
        return
    for attribute, text in _pairs(document):
        yield f"{place}.{name}" + (f".{attribute}" if attribute else ""), text


def _pairs(document: object) -> Iterator[tuple[str, str]]:
    match document:
        case str():
            yield "", document
        case (str(attribute), str(text)):
            yield attribute, text
        case list():
            for part in document:
                yield from _pairs(part)


def length(text: str) -> int:
    """Estimate how many tokens a WordPiece tokenizer makes of `text`: one for eight letters of a word, or any sign."""
    return sum(1 + (len(piece) - 1) // 8 for piece in _PIECE.findall(text))


def join(paragraphs: tuple[str, ...]) -> list[str]:
    """Make passages of a docstring's paragraphs: sentence after sentence, until one has `LEAST` to `MOST` tokens.

    Where that cannot be met between sentences, one is cut between clauses, or else between words. What is left over at
    the end and is shorter is in no passage.
    """
    passages = [""]
    for sentence in (sentence for paragraph in paragraphs for sentence in _SENTENCE.split(paragraph)):
        rest = sentence
        while length(f"{passages[-1]} {rest}") > MOST:
            if length(passages[-1]) < LEAST:
                head, rest = _cut(rest, MOST - length(passages[-1]))
                passages[-1] = f"{passages[-1]} {head}".strip()
            passages.append("")
        passages[-1] = f"{passages[-1]} {rest}".strip()
    return [passage for passage in passages if LEAST <= length(passage) <= MOST]


def _cut(sentence: str, room: int) -> tuple[str, str]:
    """Cut a sentence to fit `room`: after the last clause that fills it well enough, or else after a word.

    A word that fits into no passage goes with the first part, which then is none.
    """
    found = words(sentence)
    if length(found[0]) > MOST:
        return found[0], " ".join(found[1:])
    fits = next(n for n in range(len(found), -1, -1) if length(" ".join(found[:n])) <= room)
    head = " ".join(found[:fits])
    clause = " ".join(_CLAUSE.split(head)[:-1])
    if length(clause) >= room - (MOST - LEAST):
        head = clause
    return head, sentence[len(head) :].strip()
