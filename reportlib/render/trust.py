"""Can it be trusted: the controls, the rival explanations, and what everything was measured on and made from."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from reportlib.findings.causes import Cause, causes, setting
from reportlib.findings.finding import Part
from reportlib.render.html import Column, Html, Row, answer, dense, fold, fragment, join, table, telling_variables
from reportlib.render.page import Piece, by_part, paragraph, sentences
from reportlib.shape import Report
from reportlib.words import formats
from reportlib.words.terms import brought_by_torch, labels, subject

Record = Mapping[str, Any]
#: Heading of each kind of control.
_KINDS = {"repeat": "Captured again", "observer": "Without instruments"}
#: Kinds of `environment_differences` that may explain a difference beside torch, by what a reader calls them.
_RIVALS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Python", ("python",)),
    ("other packages", ("package", "package build")),
    ("instruction sets", ("capability",)),
    ("threads", ("threads",)),
    ("environment variables", ("environment variable",)),
    ("seeds", ("seed",)),
    ("the machine", ("machine",)),
)
#: Kinds of which the values tell more than the name.
_VALUES = frozenset(("python", "capability"))


@by_part
def trust(part: Part) -> Iterator[Piece]:
    """Show every control, and of each rival explanation whether the data rule it out."""
    yield paragraph(sentences(part, "controls"))
    made = part.data.get("controls") or []
    if made:
        first = "Setting" if part.step == "change" else "Version"
        columns = (Column(first), *(Column(title) for title in _KINDS.values()), Column("Search again"))
        yield table(
            "Each beside itself: values with the same bytes",
            columns,
            [_control(part, name) for name in dict.fromkeys(c["environment"] for c in made)],
        )
    else:
        made_later = (
            "The controls are pending" if "controls" in part.report.get("pending", []) else "No controls were run"
        )
        yield paragraph([f"{made_later}, so nothing here says how much a version differs from itself."])
    columns = (Column("What differs too"), Column("Which"), Column("Ruled out?"))
    rows = [
        Row((kind, formats.listing(which, most=6), _ruling(kind, which, part)))
        for kind, kinds in _RIVALS
        if (which := _differing(part, kinds))
    ]
    varied = subject(part.report["environments"])
    what = "PyTorch and the libraries that it brings" if varied == "PyTorch" else varied
    if part.data["artifacts"] and not rows:
        yield paragraph([f"There is no rival explanation: beside {what} nothing that was recorded differs."])
    yield table(f"Rival explanations: what changed beside {what}", columns, rows)


def _control(part: Part, environment: str) -> Row:
    made: dict[str, Record] = {c["kind"]: c for c in part.data["controls"] if c["environment"] == environment}
    cells: list[Html | str] = []
    for kind in _KINDS:
        control = made.get(kind)
        same = formats.of(control["identical"], control["compared"]) if control else ""
        cells.append(answer(control["passed"], same, same) if control else "not run")
    again = next((c for c in (part.search["controls"] if part.search else []) if c["environment"] == environment), None)
    same = formats.of(again["identical"], again["queries"]) if again else ""
    cells.append(answer(again["identical"] == again["queries"], same, same) if again else "not run")
    return Row((part.name(environment), *cells))


def _differing(part: Part, kinds: Sequence[str]) -> list[str]:
    return [
        f"{d['a']} in {part.short_a}, {d['b']} in {part.short_b}" if d["kind"] in _VALUES else d["name"]
        for d in part.pair["environment_differences"]
        if d["kind"] in kinds
        and not (d["kind"].startswith("package") and brought_by_torch(d["name"]))
        and not _is_varied(part, d)
    ]


def _is_varied(part: Part, difference: Mapping[str, Any]) -> bool:
    """Whether a difference is one that the study makes, or comes with it: it is the subject, and no rival."""
    environments = part.report["environments"]
    varied = {subject(environments), *(name for e in environments for name in e.get("settings") or {})}
    if difference["kind"] == "capability":
        return "ATEN_CPU_CAPABILITY" in varied
    threads = difference["kind"] == "threads" or difference["name"].endswith("_NUM_THREADS")
    return difference["name"] in varied or (threads and "threads" in varied)


def _ruling(kind: str, which: Sequence[str], part: Part) -> str:
    """Return what the data say of a kind of difference; that it is open where they say nothing."""
    roots = [] if part.failed else causes(part)
    if which == ["tokenizers"] and part.same_tokens:
        return "yes: the tokens are the same"
    if kind in {"Python", "other packages"}:
        shown = [c.name for c in roots if (c.record.get("reproduction") or {}).get("ran") == {"a": "a", "b": "b"}]
        if shown:
            return f"yes, for {formats.listing(shown)}: a script with only torch and safetensors shows the same bytes"
    elif kind == "instruction sets":
        return _switched(part, roots, {"ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA"})
    elif kind == "threads":
        return _switched(part, roots, {"torch.set_num_threads"})
    return "not ruled out"


def _switched(part: Part, roots: Sequence[Cause], settings: set[str]) -> str:
    """Return what switches of these settings alone do to the causes: undo them, or leave them as they are."""
    lines = {name: setting(line) for name, line in part.switches.items()}
    sets = tuple(f"{name}{sign}" for name in settings for sign in "=(")
    ours = {name for name, line in lines.items() if line and all(word.startswith(sets) for word in line.split())}
    undone = [c.name for c in roots if ours & set(c.switches)]
    left: list[str] = []
    failed: list[str] = []
    for cause in roots:
        gave = {
            t["gives"] for t in cause.record.get("switches") or [] if t["environment"] == "b" and t["switch"] in ours
        }
        if gave and cause.name not in undone:
            (failed if "failed" in gave else left).append(cause.name)
    clauses = [f"no: they are the reason for {formats.listing(undone)}"] if undone else []
    clauses += [f"yes, for {formats.listing(left)}: no setting of them brings the bytes back"] if left else []
    clauses += [f"not told for {formats.listing(failed)}: with a setting of them it does not run"] if failed else []
    return "; ".join(clauses) or "not ruled out"


def measured_on(report: Report) -> Html:
    """List what a reader needs to judge whether the findings carry over to another machine, model or collection."""
    study, machine = report["study"], report["platform"]
    called = labels(report["environments"])
    facts = [
        ("CPU", f"{machine['cpu'] or 'unknown'}, {formats.plural(machine['cores'] or 0, 'core')}"),
        ("Kernels", ", ".join(f"{called[k]}: {v}" for k, v in machine["capability"].items() if v and k in called)),
        ("GPU", " ".join(filter(None, (machine["gpu"], machine["driver"]))) or "none"),
        ("Threads", _in_each(report, "threads", study["threads"])),
        ("PyTorch", ", ".join(str(e["torch"].get("version") or "unknown") for e in report["environments"])),
        ("Collection", study["collection"]["sentence"]),
        ("Checkpoint", study["checkpoint"]["sentence"]),
        ("colbert-ai's settings", ", ".join(f"{k} = {_in_each(report, k, v)}" for k, v in study["colbert"].items())),
        ("Variables", _variables(report)),
    ]  # fmt: skip
    return fragment("facts", facts=[(name, value) for name, value in facts if value])


def _in_each(report: Report, name: str, value: Any) -> str:
    """Return a setting of the study; of each environment where they are not given the same."""
    values = [str((e.get("settings") or {}).get(name, value)) for e in report["environments"]]
    return values[0] if len(set(values)) == 1 else formats.listing(values)


def _variables(report: Report) -> str:
    holders: dict[str, list[str]] = {}
    for environment in report["environments"]:
        for name, value in telling_variables(environment).items():
            holders.setdefault(f"{name}={value}", []).append(environment["name"])
    everywhere = len(report["environments"])
    return ", ".join(
        text if len(names) == everywhere else f"{text} ({formats.listing(names)})" for text, names in holders.items()
    )


# In full: what the environments differ in, what everything was made from, and how to make it again.


def environment_differences(report: Report) -> Html:
    """List everything recorded that differs between the environments of each pair."""
    called = labels(report["environments"])
    tables = []
    for pair in report["pairs"]:
        a, b = (called.get(pair[side], pair[side]) for side in ("a", "b"))
        columns = (Column("What"), Column("Name"), Column(a), Column(b))
        rows = [
            Row((d["kind"], d["name"], *(_text(d[side]) for side in ("a", "b"))))
            for d in pair["environment_differences"]
        ]
        tables.append(dense(f"What was recorded and differs: {a} against {b}", columns, rows))
    return join(tables)


def _text(value: str | None) -> Html | str:
    if value is None:
        return "not there"
    if len(value) >= 40 and all(c in "0123456789abcdef" for c in value):
        return f"{value[:12]}…"
    return fragment("long", text=value) if len(value) > 120 or "\n" in value else value


def every_finding(report: Report) -> Html:
    """List each finding, how sure it is, and where its numbers stand in report.json."""
    columns = (Column("About"), Column("Finding"), Column("How sure"), Column("In report.json"), Column("In the posts"))
    rows = [
        Row((
            f["about"], fragment("sentence", text=f["sentence"]), f["sure"],
            Markup("<br>").join(Markup("<code>{}</code>").format(p) for p in f["evidence"]),
            formats.listing(f["posts"]) or formats.ABSENT,
        ))
        for f in report["findings"]
    ]  # fmt: skip
    return dense("Each finding and its evidence", columns, rows)


def reproduce(report: Report) -> Html:
    """Give the commands that make this page again, and one arm of it."""
    study = report["study"]
    path = shlex.quote(f"reports/{study['slug']}/study.toml")
    device = " --device cuda" if study["device"] == "cuda" else ""
    environment, precision = study["environments"][0], study["precisions"][0]
    settings: dict[str, Any] = {"device": study["device"], "threads": study["threads"], **study["colbert"]}
    own = report["environments"][0].get("settings") or {}
    settings |= {name: value for name, value in own.items() if name in settings}
    parameters = [f"-p {name} {value}" for name, value in settings.items()]
    variables = telling_variables(report["environments"][0])
    extra = [f"  -y {shlex.quote(f'variables: {json.dumps(variables)}')} \\"] if variables else []
    lines = [
        "source .venv/bin/activate",
        'export REPORTLIB_HOME="$PWD/.reportlib" JUPYTER_PATH="$PWD/.reportlib/jupyter"',
        f"reportlib run {path}{device}",
        "",
        "# one arm by hand",
        f"reportlib env create {environment}",
        f"reportlib prepare {path}  # the collection and the checkpoint, where the notebook looks for them",
        "mkdir -p runs",
        f"papermill notebooks/capture.ipynb runs/{environment}.ipynb -k {environment} \\",
        f"  -p environment {environment} -p precision {precision['name']} -p passages {precision['passages']} \\",
        *(f"  {' '.join(parameters[n : n + 4])} \\" for n in range(0, len(parameters), 4)),
        *extra,
        f"  -p output runs/{environment}-{precision['name']}",
    ]
    return fragment("commands", lines=lines)


def provenance(report: Report) -> Html:
    """Say what the captures were made from: inputs with their hashes, and each environment in full."""
    study, machine = report["study"], report["platform"]
    facts = [
        ("Study", f"{study['title']} ({study['slug']})"),
        ("Collection sha256", study["collection"]["sha256"] or "not recorded"),
        ("Checkpoint sha256", study["checkpoint"]["sha256"] or "not recorded"),
        ("Operating system", f"{machine['os']}, {machine['arch']}"),
        ("Instruction sets of the CPU", ", ".join(machine["isa"]) or "unknown"),
        ("report.json schema", formats.count(int(report["schema_version"]))),
    ]
    called = labels(report["environments"])
    folds = [
        fold(f"Environment {e['name']}: {called.get(e['name'], e['name'])}", _environment(e))
        for e in report["environments"]
    ]
    return join([fragment("facts", facts=facts), *folds])


def _environment(environment: Record) -> Html:
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
    packages = [Row((name, version)) for name, version in (environment["packages"] or {}).items()]
    libraries = [
        Row((x["name"], x["version"] or formats.ABSENT, formats.count(x["size"]), (x["sha256"] or formats.ABSENT)[:12]))
        for x in environment["libraries"] or []
    ]
    texts = [
        Markup('<pre tabindex="0">{}</pre>').format(build[key]) for key in ("config", "parallel") if build.get(key)
    ]
    return join([
        fragment("facts", facts=[(n, "unknown" if v is None else str(v)) for n, v in facts]),
        *texts,
        dense("Packages", (Column("Package"), Column("Version")), packages),
        dense(
            "Shared libraries",
            (Column("Library"), Column("Version"), Column("Bytes", numeric=True), Column("sha256")),
            libraries,
        ),
    ])  # fmt: skip
