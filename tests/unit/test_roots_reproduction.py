"""The folder to hand in: what its script says, and that it needs nothing of ours."""

from __future__ import annotations

import ast
import dataclasses
import json
import shlex

import pytest
from fake_roots import write_case

from reportlib.compare.roots import reproduction
from reportlib.compare.roots.reproduction import Setting, Side, script
from reportlib.compare.roots.reproduction import call as written_out
from reportlib.trace.format import Case

A, B = Side("torch201", "2.0.1+cu117"), Side("torch210", "2.1.0+cu121")
SETTING = Setting(2, platform="a CPU, Linux")


@pytest.fixture
def case(tmp_path):
    return write_case(tmp_path / "cases")


def written(case, **changed):
    """The case with other arguments or inputs."""
    dataclasses.replace(case, **changed).write()
    return Case.open(case.folder)


def test_the_script_is_short_and_imports_only_torch_and_safetensors(case, tmp_path):
    reproduction.write(tmp_path / "made", case.folder, A, B, SETTING)
    text = (tmp_path / "made" / "reproduce.py").read_text()
    tree = ast.parse(text)
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported == {"hashlib", "json", "pathlib", "torch", "safetensors.torch"}
    assert len([line for line in text.splitlines() if line]) <= 18
    assert "torch.ops.aten.addmm.default(x[0], mat1=x[1], mat2=x[2])" in text
    assert "torch.set_num_threads(2)" in text


def test_the_same_case_gives_the_same_bytes(case, tmp_path):
    sizes = [reproduction.write(tmp_path / name, case.folder, A, B, SETTING) for name in ("one", "two")]
    one, two = ({f.name: f.read_bytes() for f in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two
    assert sizes == [sum(map(len, one.values()))] * 2


def test_the_expected_hashes_are_the_cases(case, tmp_path):
    reproduction.write(tmp_path / "made", case.folder, A, B, SETTING)
    known = json.loads((tmp_path / "made" / "expected.json").read_text())["behaviours"]
    assert known == {
        "torch 2.0.1": {"torch": "2.0.1+cu117", "sha256": [case.outputs["a"][0].sha256]},
        "torch 2.1.0": {"torch": "2.1.0+cu121", "sha256": [case.outputs["b"][0].sha256]},
    }


def test_a_shell_reads_a_variable_as_it_is():
    command = Setting(2, "cpu", {"KMP_AFFINITY": "granularity=fine; touch hacked"}).command
    assert shlex.split(command) == ["KMP_AFFINITY=granularity=fine; touch hacked", "python", "reproduce.py"]


def test_the_readme_says_what_where_on_what_and_how(case, tmp_path):
    setting = Setting(2, "cpu", {"ATEN_CPU_CAPABILITY": "avx2"}, "a CPU, Linux")
    reproduction.write(tmp_path / "made", case.folder, A, B, setting, found="3 of 24 elements differ.")
    text = (tmp_path / "made" / "README.md").read_text()
    for wanted in (
        "# `aten::addmm` returns other bytes in torch 2.1.0 than in torch 2.0.1",
        "in `encoder.layer.1` called at `planted.py:1: addmm`. 3 of 24 elements differ.",
        "- input 1: float32, shape (4, 6), strides (6, 1)",
        "a CPU, Linux; 2 threads; device cpu",
        "    ATEN_CPU_CAPABILITY=avx2 python reproduce.py",
        case.outputs["a"][0].sha256,
        case.outputs["b"][0].sha256,
    ):
        assert wanted in text


@pytest.mark.parametrize(
    ("arguments", "call"),
    [
        ({"self": {"tensor": 0}}, "torch.ops.aten.addmm.default(x[0])"),
        ({"condition": {"tensor": 1}, "self": {"tensor": 0}}, "torch.ops.aten.addmm.default(x[1], x[0])"),
        ({"self": {"tensor": 0}, "from": 1}, 'torch.ops.aten.addmm.default(x[0], **{"from": 1})'),
        ({"tensors": [{"tensor": 0}, {"tensor": 1}]}, "torch.ops.aten.addmm.default(tensors=[x[0], x[1]])"),
        (
            {"self": {"tensor": 0}, "eps": {"float": (1e-12).hex()}, "low": {"float": "-inf"}},
            'torch.ops.aten.addmm.default(x[0], eps=1e-12, low=float("-inf"))',
        ),
        (
            {"self": {"tensor": 0}, "dtype": {"dtype": "float64"}, "device": {"device": "cuda:0"}, "pin": None},
            'torch.ops.aten.addmm.default(x[0], dtype=torch.float64, device=torch.device("cuda:0"), pin=None)',
        ),
        (
            {"self": {"tensor": 0}, "value": {"complex": [(0.5).hex(), (1.0).hex()]}, "flag": True, "how": "tanh"},
            "torch.ops.aten.addmm.default(x[0], value=complex(0.5, 1.0), flag=True, how='tanh')",
        ),
    ],
)
def test_arguments_are_written_out(case, arguments, call):
    assert written_out(written(case, arguments=arguments)) == call
    ast.parse(call)


def test_an_overload_is_named(case):
    assert written_out(written(case, name="aten::div", overload="Tensor")).startswith("torch.ops.aten.div.Tensor(")


@pytest.mark.parametrize(
    ("shape", "strides", "line"),
    [
        ((4, 6), (6, 1), None),
        ((), (), None),
        ((4, 6), (1, 4), "x[1] = torch.empty_strided((4, 6), (1, 4), dtype=x[1].dtype).copy_(x[1])"),
        (
            (2, 5, 3),
            (3, 0, 1),
            "x[1] = torch.empty_strided((2, 1, 3), (3, 0, 1), dtype=x[1].dtype).copy_(x[1][:, :1, :]).expand(2, 5, 3)",
        ),
    ],
)
def test_memory_is_laid_out_as_it_was_where_it_matters(case, shape, strides, line):
    inputs = list(case.inputs)
    inputs[1] = dataclasses.replace(inputs[1], shape=shape, strides=strides)
    text = script(written(case, inputs=tuple(inputs)), ("torch 1", "torch 2"), 2, "cpu")
    ast.parse(text)
    assert (line in text.splitlines()) if line else "empty_strided" not in text


def test_what_is_changed_in_place_is_hashed_too(case):
    nothing = written(case, result={"a": None, "b": None})
    assert "outputs = [x[0]]" in script(nothing, ("1", "2"), 2, "cpu", (0,))
    pair = written(case, result={side: [{"tensor": 0}, {"tensor": 1}] for side in "ab"})
    assert "outputs = [*result, x[2]]" in script(pair, ("1", "2"), 2, "cpu", (2,))


def test_a_gpu_case_runs_on_a_gpu_and_lies_there_as_it_lay(case):
    turned = dataclasses.replace(case.inputs[1], strides=(1, 4))
    content = written(case, inputs=(case.inputs[0], turned, case.inputs[2]))
    text = script(content, ("1", "2"), 2, "cuda")
    assert 'x = [stored[f"input{i}"].clone().to("cuda") for i in range(3)]' in text
    assert 'torch.empty_strided((4, 6), (1, 4), dtype=x[1].dtype, device="cuda").copy_(x[1])' in text


def test_versions_that_look_alike_are_told_apart():
    assert reproduction.labels(A, B) == ("torch 2.0.1", "torch 2.1.0")
    cpu, cuda = Side("one", "2.1.0+cpu"), Side("two", "2.1.0+cu121")
    assert reproduction.labels(cpu, cuda) == ("torch 2.1.0+cpu", "torch 2.1.0+cu121")
    assert reproduction.labels(cpu, Side("two", "2.1.0+cpu")) == ("torch 2.1.0+cpu of one", "torch 2.1.0+cpu of two")


@pytest.mark.parametrize(
    ("printed", "found"),
    [
        ("torch 2.0.1 abc\nbehaves like torch 2.0.1\n", "a"),
        ("behaves like torch 2.1.0", "b"),
        ("behaves like neither", "neither"),
        ("", "neither"),
    ],
)
def test_the_verdict_is_read_from_what_was_printed(printed, found):
    assert reproduction.verdict(printed, A, B) == found


def test_what_nobody_would_attach_is_not_written(case, monkeypatch):
    assert reproduction.why_not(case.folder) is None
    monkeypatch.setattr(reproduction, "MAX_BYTES", 100)
    assert "folders of more than" in reproduction.why_not(case.folder)


def test_an_operation_that_returns_a_number_has_no_folder(case):
    dataclasses.replace(case, result={"a": {"float": "0x1p0"}, "b": {"float": "0x0p0"}}).write()
    assert reproduction.why_not(case.folder) == "it returns more than tensors"
