"""A home with two environments that are no environments: B has another `addmm` in one layer of a small network."""

from __future__ import annotations

import json
import shutil
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from planted import Network, at, write_trace
from safetensors.numpy import save_file

from reportlib.environments.record import EnvironmentRecord
from reportlib.store import digest
from reportlib.trace.format import (
    Case,
    CaseTensor,
    Difference,
    Error,
    Group,
    Replay,
    ReplayedOperation,
    ReplayedPass,
    Truth,
)

CASE, SLUG = "addmm-float32", "planted"
FAKE = Path(__file__).with_name("fake_environment.py")
VERSIONS = {"ta": "2.0.1+cu117", "tb": "2.1.0+cu121"}


def described(array: np.ndarray) -> CaseTensor:
    strides = tuple(step // array.itemsize for step in array.strides)
    return CaseTensor(str(array.dtype), array.shape, strides, digest(np.ascontiguousarray(array).tobytes()))


def write_case(folder: Path, identity: str = CASE, rows: int = 4) -> Case:
    """Write a case of `addmm` of which B has one element more."""
    rng = np.random.default_rng(5)
    bias, x, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((6,), (rows, 6), (6, 6)))
    a = (x.astype(np.float64) @ w + bias).astype(np.float32)
    b = a.copy()
    b[0, 0] += np.float32(1)
    case = Case(
        folder=folder / identity, id=identity, name="aten::addmm", overload="",
        arguments={name: {"tensor": index} for index, name in enumerate(("self", "mat1", "mat2"))},
        inputs=tuple(map(described, (bias, x, w))), outputs={"a": (described(a),), "b": (described(b),)},
        result={"a": {"tensor": 0}, "b": {"tensor": 0}}, pass_slug=SLUG, position=3,
        module="encoder.layer.1", source="planted.py:1: addmm",
    )  # fmt: skip
    case.folder.mkdir(parents=True)
    case.write()
    save_file({"input0": bias, "input1": x, "input2": w}, case.folder / "inputs.safetensors")
    save_file({"a0": a, "b0": b, "truth0": a.astype(np.float64)}, case.folder / "outputs.safetensors")
    return case


def write_replay(folder: Path, *, differ: bool) -> None:
    """Write a replay folder of the network in which one `addmm` differs, or nothing does."""
    found = Difference(24, 1, 1.0, 0.2, 8) if differ else Difference(24, 0, 0.0, 0.0, 0)
    operation = ReplayedOperation(
        3, 3, "aten::addmm", "", "encoder.layer.1", "planted.py:1: addmm", CASE, found, found,
        Truth(Error(1e-7, 1e-8), Error(1.0, 0.2)) if differ else None,
    )  # fmt: skip
    entry = ReplayedPass(
        slug="planted", description="planted", kind="forward", same_output=not differ, undisturbed_a=True,
        undisturbed_b=True, replayed=20, differ=int(differ), not_replayed=(), window_bytes=10, sent_bytes=99,
        seconds=1.0, seconds_plain=0.5, peak_bytes=1, peak_bytes_plain=1, operations=(operation,),
    )  # fmt: skip
    folder.mkdir(parents=True)
    group = Group(CASE, "aten::addmm", "", ("float32",), 3, int(differ))
    Replay(folder, {}, {}, {"planted": entry}, {CASE: group}).write()


def answers(case: Case, side: str, output: str, seconds: float) -> dict[str, Any]:
    """What the verb `try` says when the case gives that side's bytes."""
    outputs = [{"dtype": t.dtype, "shape": list(t.shape), "sha256": t.sha256} for t in case.outputs[side]]
    given = {"outputs": outputs, "result": case.result[side], "written": [], "failed": None}
    passes = {"planted": {"digest": output, "failed": None}, "batch": {"digest": "", "seconds": seconds}}
    return {"failed": None, "cases": {case.folder.name: given}, "passes": passes}


def make_home(folder: Path, *, same: bool = False) -> Path:
    """Make the home; what the fake environments answer lies in ``<folder>/ready``."""
    home, ready = folder / "home", folder / "ready"
    collection, checkpoint = home / "inputs" / "collection", home / "inputs" / "checkpoint"
    collection.mkdir(parents=True)
    checkpoint.mkdir()
    lines = [json.dumps({"id": str(k), "text": f"passage {k}"}) for k in range(40)]
    (collection / "collection.jsonl").write_text("\n".join(lines) + "\n")
    (checkpoint / "artifact.metadata").write_text("{}")
    fault = Network(plant=at("encoder.layer.1", "addmm", lambda x: x + x.dtype.type(1)))
    for name, network in (("ta", Network()), ("tb", Network() if same else fault)):
        write_trace(ready / "traces" / name, network, arm={"environment": name})
        manifest = ready / "traces" / name / "manifest.json"
        content = json.loads(manifest.read_text())
        content["torch"]["version"] = VERSIONS[name]
        manifest.write_text(json.dumps(content))
        program = home / "envs" / name / "bin" / "python"
        program.parent.mkdir(parents=True)
        behaves = f"torch {VERSIONS[name].partition('+')[0]}"
        program.write_text(f'#!/bin/sh\nFAKE_BEHAVES="{behaves}" exec "{sys.executable}" "{FAKE}" "{ready}" "$@"\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        record = EnvironmentRecord(name, str(program.parents[1]), "uv", "", torch=VERSIONS[name])
        record.write(home)
    write_replay(ready / "replay", differ=not same)
    case = write_case(ready / "replay" / "cases", rows=40)
    if same:
        shutil.rmtree(ready / "replay" / "cases")
    output = json.loads((ready / "traces" / "ta" / "manifest.json").read_text())["passes"][0]["output_untraced"]
    answer(ready, "ta", {"none": answers(case, "a", output, 1.0)})
    answer(ready, "tb", {"none": answers(case, "b", "other", 2.0), "onednn-off": answers(case, "a", output, 3.0)})
    return home


def answer(ready: Path, name: str, by_switch: Mapping[str, Any]) -> None:
    (ready / f"try-{name}.json").write_text(json.dumps(by_switch))


def faults(home: Path, **by_place: str) -> None:
    """Let a verb or switch of an environment go wrong: ``faults(home, tb_replay="die")``."""
    named = {place.replace("_", " ", 1): what for place, what in by_place.items()}
    (home.parent / "ready" / "faults.json").write_text(json.dumps(named))


def runs(home: Path, verb: str = "") -> list[str]:
    """What was asked of the environments, a line each."""
    log = home.parent / "ready" / "log"
    lines = log.read_text().splitlines() if log.exists() else []
    return [line for line in lines if f"reportlib.trace {verb}" in line]
