"""The command ``reportlib``. Nothing is decided here: commands call the library and print what it returns.

A command's module is imported when the command runs, as some need numpy, matplotlib or Snakemake: help and a mistyped
word are answered at once.
"""

from __future__ import annotations

import ast
import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from reportlib.errors import ReportlibError

#: Each command's module; the module's ``register`` adds it to an application.
COMMANDS: Mapping[str, str] = {
    "init": "study",
    "prepare": "study",
    "run": "study",
    "publish": "study",
    "site": "study",
    "lab": "study",
    "check": "compare",
    "compare": "compare",
    "roots": "roots",
    "shapes": "roots",
    "sweep": "sweep",
    "bisect": "sweep",
    "env": "environments",
    "doctor": "doctor",
}


Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]


def one_of(value: str, known: Sequence[str], option: str) -> None:
    """Refuse a value of an option that is none of those known."""
    if value not in known:
        raise typer.BadParameter(f"{value!r} is not one of {', '.join(known)}", param_hint=option)


def print_json(content: Any) -> None:
    """Print `content` to standard output as JSON."""
    sys.stdout.write(json.dumps(content, indent=1) + "\n")


def print_progress(line: str) -> None:
    """Print a line of progress to standard error, where it does not mix with results."""
    from rich.console import Console

    if line:
        Console(stderr=True, highlight=False, soft_wrap=True).print(line, markup=False, style="dim")


class OnDemand(TyperGroup):
    """A group that knows the names of its commands, and imports one when it is called.

    Contexts are click's, of the copy that typer brings; which one that is depends on typer's release.
    """

    listing = False

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """Return the commands in the order in which a user meets them."""
        return [*COMMANDS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import a command; while help is being written, only read its first line."""
        if cmd_name not in COMMANDS:
            return None
        module = f"{__name__}.{COMMANDS[cmd_name]}"
        if self.listing:
            return TyperCommand(cmd_name, help=_first_line(module, cmd_name))
        app = typer.Typer()
        importlib.import_module(module).register(app)
        return typer.main.get_group(app).get_command(ctx, cmd_name)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help without importing any command."""
        self.listing = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self.listing = False


def _first_line(module: str, name: str) -> str:
    """Return the first line of a command's docstring, or of its module's where the command is a group."""
    spec = find_spec(module)
    assert spec is not None  # noqa: S101 one of this package
    tree = ast.parse(Path(str(spec.origin)).read_text(encoding="utf-8"))
    function = next((node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name), tree)
    return (ast.get_docstring(function) or "").partition("\n")[0]


app = typer.Typer(
    cls=OnDemand,
    help="What changed in a ColBERT index after a PyTorch upgrade, why, and whether it matters.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def _every() -> None:
    """Take no option of its own: with a callback typer makes a group."""


def main() -> None:
    """Run the command; an error that the user can mend is printed without a traceback, and exits with 2."""
    try:
        app()
    except ReportlibError as error:
        sys.stderr.write(f"Error: {error}\n")
        raise SystemExit(2) from error
