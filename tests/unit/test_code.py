"""The number that stands for code in an address: it has to be raised when the code comes to mean something else.

``python tests/unit/test_code.py`` writes down what the code means now, for each number that was raised; with
``--same`` for every one, where what the code computes has stayed the same although it is written otherwise.
"""

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import reportlib
from reportlib.store import digest
from reportlib.workflow.addresses import CODE

PACKAGE = Path(reportlib.__file__).parent
NOTEBOOKS = PACKAGE.parent / "notebooks"
WRITTEN = Path(__file__).with_name("code.json")
#: Where the code that a number stands for begins, and what of the package is followed from there.
INSIDE = ("reportlib",)
#: What only the host asks `reportlib.study` for: the one import that the wall around an environment lets through.
HOST = "reportlib.study_toml"
STARTS = {
    "capture": ((NOTEBOOKS / "capture.ipynb", NOTEBOOKS / "swaps.ipynb"), INSIDE),
    "search": ((NOTEBOOKS / "search.ipynb",), INSIDE),
    "trace": ((PACKAGE / "trace" / "__main__.py",), INSIDE),
    "probe": ((PACKAGE / "trace" / "probing.py",), INSIDE),
    "roots": (
        (PACKAGE / "workflow" / "roots.py",),
        ("reportlib.compare.roots", "reportlib.workflow", "reportlib.trace"),
    ),
}


def source(path: Path) -> str:
    """Return the code of a module, or of a notebook's cells."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return text
    return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code")


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield what a module imports, wherever in it: names of modules, and of what may be one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def module(name: str) -> Path | None:
    """Return the file of one of the package's modules."""
    path = PACKAGE.parent.joinpath(*name.split("."))
    return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()), None)


def meaning(node: object) -> object:
    """Return a syntax tree as plain lists, without docstrings and without what differs between versions of Python."""
    if isinstance(node, list):
        return [meaning(item) for item in node]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {name: value for name, value in ast.iter_fields(node) if value not in (None, []) and name != "ctx"}
    body = fields.get("body")
    if isinstance(body, list) and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        fields["body"] = body[1:]
    return [type(node).__name__, *([name, meaning(value)] for name, value in fields.items())]


def code_meaning(starts: tuple[Path, ...], followed: tuple[str, ...]) -> str:
    """Return a digest of what the code at `starts` means, with all that it imports of what is followed."""
    trees: dict[Path, ast.AST] = {}
    waiting = list(starts)
    while waiting:
        path = waiting.pop()
        if path in trees:
            continue
        trees[path] = ast.parse(source(path))
        names = (name for name in imported(trees[path]) if name.startswith(followed) and name != HOST)
        waiting += [found for name in names if (found := module(name)) is not None]
    content = [[str(path.relative_to(PACKAGE.parent)), meaning(trees[path])] for path in sorted(trees)]
    return digest(json.dumps(content).encode())


@pytest.mark.parametrize("name", sorted(CODE))
def test_code_that_means_something_else_has_another_number(name: str) -> None:
    written = json.loads(WRITTEN.read_text(encoding="utf-8"))[name]
    assert (CODE[name], code_meaning(*STARTS[name])) == (written["number"], written["meaning"]), (
        f"what {name!r} stands for has changed: raise its number in reportlib/workflow/addresses.py, unless what it "
        f"computes is the same, and write its meaning down (see the docstring of {Path(__file__).name})"
    )


def test_a_docstring_a_comment_and_a_line_break_mean_nothing_and_a_number_does() -> None:
    plain, told = "def f(x):\n    return x + 1", '"""Module."""\ndef f(x):  # why\n    """Do."""\n    return (x +\n 1)'
    assert meaning(ast.parse(plain)) == meaning(ast.parse(told))
    assert meaning(ast.parse(plain)) != meaning(ast.parse(plain.replace("1", "2")))


def test_imports_are_followed_wherever_they_stand(tmp_path: Path) -> None:
    inside = tmp_path / "start.py"
    inside.write_text("def f():\n    from reportlib import floats\n")
    alone = tmp_path / "alone.py"
    alone.write_text("def f():\n    pass\n")
    assert [name for name in imported(ast.parse(source(inside))) if module(name)] == ["reportlib", "reportlib.floats"]
    assert not list(imported(ast.parse(source(alone))))


def write() -> None:
    """Write down what each number stands for."""
    old = json.loads(WRITTEN.read_text(encoding="utf-8")) if WRITTEN.is_file() else {}
    for name, number in CODE.items():
        if "--same" in sys.argv[1:] or old.get(name, {}).get("number") != number:
            old[name] = {"number": number, "meaning": code_meaning(*STARTS[name])}
    WRITTEN.write_text(json.dumps(old, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
