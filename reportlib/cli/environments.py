"""Make, look at and remove environments."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from reportlib.cli import Json, one_of, print_json, print_progress
from reportlib.store import project_home

Name = Annotated[str, typer.Argument(help="An environment's name: torch201.")]


def register(app: typer.Typer) -> None:
    """Add ``env create | list | remove | adopt | lock | check``."""
    env = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)
    app.add_typer(env, name="env")
    env.command("create")(env_create)
    env.command("list")(env_list)
    env.command("remove")(env_remove)
    env.command("adopt")(env_adopt)
    env.command("lock")(env_lock)
    env.command("check")(env_check)


def env_create(
    name: Name,
    backend: Annotated[
        str, typer.Option(help="Backends in order of preference; the first that can be used wins.")
    ] = "rattler|uv",
    lock: Annotated[bool, typer.Option("--lock/--no-lock", help="Install from the lock, or resolve as of now.")] = True,
    extensions: Annotated[
        bool,
        typer.Option("--extensions/--no-extensions", help="Compile colbert-ai's C++ extensions."),
    ] = True,
    space_check: Annotated[
        bool,
        typer.Option("--space-check/--no-space-check", help="Refuse to begin on a full disk."),
    ] = True,
    as_json: Json = False,
) -> None:
    """Make an environment from environment-NAME.yml, with its kernel. Does nothing if it is made."""
    from reportlib import environments

    spec = environments.load_spec(name, Path.cwd())
    done = environments.create(
        spec,
        project_home(),
        backend=backend,
        locked=lock,
        extensions=extensions,
        check_space=space_check,
        progress=lambda line: print_progress(f"{name} · {line}"),
    )
    record = done.record
    if as_json:
        print_json({"made": done.made, **_summary(record)})
        return
    if record.backend_reason and done.made:
        typer.echo(f"Used {record.backend}, because {record.backend_reason}.")
    for left_out in record.skipped if done.made else ():
        typer.echo(f"Left out {left_out}.")
    state = "is made" if done.made else "was made already"
    typer.echo(
        f"{name} {state}: Python {record.python}, torch {record.torch}, in {record.prefix}"
        f" ({record.backend}). Its kernel is {name}."
    )


def env_list(as_json: Json = False) -> None:
    """List the environment files here and the environments made."""
    from reportlib.environments import records, spec_names

    home = project_home()
    made = {record.name: record for record in records(home)}
    names = sorted({*spec_names(Path.cwd()), *made})
    if as_json:
        print_json([_summary(made[n]) if n in made else {"name": n, "backend": ""} for n in names])
        return
    table = Table("environment", "state", "Python", "torch", "extensions", "prefix")
    for name in names:
        record = made.get(name)
        if record is None:
            table.add_row(name, "not made", "", "", "", "")
        else:
            compiled = "compiled" if record.extensions else "not compiled"
            table.add_row(name, record.backend, record.python, record.torch, compiled, escape(record.prefix))
    Console().print(table)


def env_remove(name: Name, as_json: Json = False) -> None:
    """Remove an environment; of an adopted one everything but the prefix."""
    from reportlib.environments import remove

    record = remove(name, project_home(), progress=print_progress)
    if as_json:
        print_json({"removed": name, "prefix": record.prefix, "backend": record.backend})
    else:
        kept = f"; {record.prefix} is untouched" if record.backend == "adopted" else ""
        typer.echo(f"{name} is removed{kept}.")


def env_adopt(
    name: Name,
    prefix: Annotated[Path, typer.Argument(help="A prefix that you made, for instance with conda.")],
    as_json: Json = False,
) -> None:
    """Use a prefix that you made as the environment NAME; nothing in it is changed."""
    from reportlib import environments

    spec = environments.load_spec(name, Path.cwd())
    done = environments.adopt(spec, prefix, project_home(), progress=print_progress)
    if as_json:
        print_json({"made": done.made, **_summary(done.record)})
    else:
        typer.echo(f"{name} is {done.record.prefix} (torch {done.record.torch}).")


def env_lock(
    name: Name,
    like: Annotated[
        str, typer.Option(metavar="NAME", help="Keep the versions of this environment's lock wherever they fit.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Resolve environment-NAME.yml as of now and write its lock."""
    from reportlib import environments

    spec = environments.load_spec(name, Path.cwd())
    other = environments.load_spec(like, Path.cwd()) if like else None
    lock = environments.write_lock(spec, like=other, progress=print_progress)
    if as_json:
        print_json({"lock": str(spec.lock_path), "digest": lock.digest, "packages": lock.pins})
    else:
        typer.echo(f"{spec.lock_path.name}: {len(lock.pins)} packages.")


def env_check(
    name: Name,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    as_json: Json = False,
) -> None:
    """Say what an environment's torch can do on this machine; fails if it cannot use the device."""
    from reportlib.environments import check, load_record
    from reportlib.study import DEVICES

    one_of(device, DEVICES, "--device")
    home = project_home()
    record = load_record(name, home)
    found = check(record, home, device)
    if as_json:
        print_json(found)
        return
    table = Table("what", "found", title=f"{name} on {device}")
    for key, value in found.items():
        if key not in ("usable", "error", "what", "mend", "device"):
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            table.add_row(key.replace("_", " "), escape(text) or "none")
    Console().print(table)


def _summary(record: Any) -> dict[str, Any]:
    """Return what a program wants to know of an environment; its package list stays in the description."""
    keys = (
        "name",
        "prefix",
        "backend",
        "backend_reason",
        "python",
        "torch",
        "skipped",
        "extensions",
    )
    return {key: getattr(record, key) for key in keys}
