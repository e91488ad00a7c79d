"""What the environments differ in, how to reproduce the page, and what everything was made from."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from reportlib.render.html import Column, Html, Row, fold, fragment, join, table
from reportlib.render.labels import heading, telling_variables, torch
from reportlib.words import formats

#: Differences of these kinds come by the dozen; a long list of them is folded.
_MANY = ("package", "package build", "library")
_OPEN_ROWS = 8


def environment_differences(report: Mapping[str, Any]) -> Html:
    """List what differs between the environments of each pair: everything that could be the cause.

    Parameters
    ----------
    report : mapping
        As `reportlib.compare.compare_study` makes it.

    Returns
    -------
    Html
    """
    pieces: list[Html] = []
    for place, pair in enumerate(report["pairs"]):
        a, b = torch(report, pair["a"]), torch(report, pair["b"])
        if len(report["pairs"]) > 1:
            pieces.append(heading(f"{a} and {b}", f"differences-{place}"))
        found = pair["environment_differences"]
        if not found:
            pieces.append(fragment("note", text="Nothing that was recorded differs between the two environments."))
            continue
        columns = (Column("What"), Column("Name"), Column(f"A: {a}"), Column(f"B: {b}"))
        few = [d for d in found if d["kind"] not in _MANY]
        many = [d for d in found if d["kind"] in _MANY]
        pieces.append(table(f"Settings that differ: {a} against {b}", columns, [_difference(d) for d in few]))
        if many:
            inner = table(
                f"Packages and libraries that differ: {a} against {b}",
                columns,
                [_difference(d) for d in many],
            )
            title = f"{formats.count(len(many))} packages and libraries that differ"
            pieces.append(inner if len(many) <= _OPEN_ROWS else fold(title, inner))
    return join(pieces)


def _difference(difference: Mapping[str, Any]) -> Row:
    sides = [_text(difference[side]) for side in ("a", "b")]
    return Row((difference["kind"], difference["name"], *sides))


def _text(value: str | None) -> Html | str:
    if value is None:
        return "not there"
    if size := re.fullmatch(r"(\d+) bytes", value):
        return f"{formats.count(int(size[1]))} bytes"
    if len(value) >= 40 and all(c in "0123456789abcdef" for c in value):
        return f"{value[:12]}…"
    return fragment("long", text=value) if len(value) > 120 or "\n" in value else value


def reproduce(report: Mapping[str, Any]) -> Html:
    """Give the commands that make this page again, and one arm of it."""
    study = report["study"]
    path = shlex.quote(f"reports/{study['slug']}/study.toml")
    device = " --device cuda" if study["device"] == "cuda" else ""
    environment, precision = study["environments"][0], study["precisions"][0]
    settings = {"device": study["device"], "threads": study["threads"], **study["colbert"]}
    parameters = [f"-p {name} {value}" for name, value in settings.items()]
    variables = telling_variables(report["environments"][0])
    told = [f"  -y {shlex.quote(f'variables: {json.dumps(variables)}')} \\"] if variables else []
    lines = [
        "source .venv/bin/activate",
        'export REPORTLIB_HOME="$PWD/.reportlib" JUPYTER_PATH="$PWD/.reportlib/jupyter"',
        "reportlib doctor  # what this machine can do",
        f"reportlib run {path}{device}",
        "",
        "# one arm by hand",
        f"reportlib env create {environment}",
        f"reportlib prepare {path}  # the collection and the checkpoint, where the notebook looks for them",
        "mkdir -p runs",
        f"papermill notebooks/capture.ipynb runs/{environment}.ipynb -k {environment} \\",
        f"  -p environment {environment} -p precision {precision['name']} -p passages {precision['passages']} \\",
        *(f"  {' '.join(parameters[n : n + 4])} \\" for n in range(0, len(parameters), 4)),
        *told,
        f"  -p output runs/{environment}-{precision['name']}",
    ]
    return fragment("commands", lines=lines)


def provenance(report: Mapping[str, Any]) -> Html:
    """Say what the captures were made from: inputs with their hashes, and each environment in full."""
    study, machine = report["study"], report["platform"]
    facts = [
        ("Study", study["slug"]),
        ("Collection", study["collection"]["sentence"]),
        ("Collection sha256", study["collection"]["sha256"] or "not recorded"),
        ("Checkpoint", study["checkpoint"]["sentence"]),
        ("Checkpoint sha256", study["checkpoint"]["sha256"] or "not recorded"),
        ("colbert-ai's settings", ", ".join(f"{k} = {v}" for k, v in study["colbert"].items())),
        ("Operating system", f"{machine['os']}, {machine['arch']}"),
        ("CPU", machine["cpu"] or "unknown"),
        ("Cores", formats.count(machine["cores"])),
        ("Instruction sets", ", ".join(machine["isa"]) or "unknown"),
        (
            "Threads",
            ", ".join(f"{k} {v}" for k, v in (machine["threads"] or {}).items()) or "unknown",
        ),
        ("report.json schema", formats.count(report["schema_version"])),
    ]
    rows = [Row((name, value)) for name, value in facts]
    inputs = table("Inputs and machine", (Column("What"), Column("Value")), rows)
    return join([inputs, *(_environment(report, e) for e in report["environments"])])


def _environment(report: Mapping[str, Any], environment: Mapping[str, Any]) -> Html:
    build = environment["torch"]
    facts = [
        ("Python", environment["python"]),
        ("torch", build.get("version")),
        ("torch commit", build.get("git_version")),
        ("CUDA of the build", build.get("cuda") or "none"),
        ("CPU capability", build.get("cpu_capability")),
        ("Made with", environment["backend"]),
        *((f"{name} threads", value) for name, value in (environment["threads"] or {}).items()),
        *((f"seed of {name}", value) for name, value in (environment["seeds"] or {}).items()),
        *((f"${name}", value) for name, value in (environment["environment_variables"] or {}).items()),
    ]
    pair = (Column("What"), Column("Value"))
    about = table(
        f"{environment['name']}: settings",
        pair,
        [Row((n, "unknown" if v is None else str(v))) for n, v in facts],
    )
    packages = table(
        f"{environment['name']}: packages",
        (Column("Package"), Column("Version")),
        [Row((name, version)) for name, version in (environment["packages"] or {}).items()],
    )
    libraries = table(
        f"{environment['name']}: shared libraries",
        (Column("Library"), Column("Version"), Column("Bytes", numeric=True), Column("sha256")),
        [
            Row(
                (
                    x["name"],
                    x["version"] or formats.ABSENT,
                    formats.count(x["size"]),
                    (x["sha256"] or formats.ABSENT)[:12],
                )
            )
            for x in environment["libraries"] or []
        ],
    )
    texts = [
        Markup('<pre tabindex="0">{}</pre>').format(build[key]) for key in ("config", "parallel") if build.get(key)
    ]
    return fold(f"Environment {environment['name']}: {torch(report, environment['name'])}",
                join([about, *texts, packages, libraries]))  # fmt: skip
