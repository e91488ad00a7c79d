"""The passes that are recorded, sent, replayed and tried: of a ColBERT checkpoint, or of any module of torch.

A module comes from a file of the user's, which needs torch and nothing of colbert-ai::

    def model():
        return torch.nn.Linear(8, 4), torch.ones(2, 8)
"""

from __future__ import annotations

import runpy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._pytree import tree_flatten, tree_map

from reportlib.capture import CaptureRequest
from reportlib.capture.process import quiet
from reportlib.capture.tensors import tensor_digest
from reportlib.errors import CaptureError
from reportlib.store import canonical_json, digest, digest_file
from reportlib.trace.format import MODULE_SLUG

if TYPE_CHECKING:
    from reportlib.trace.__main__ import PassRequest

_ARM = ("environment", "precision", "device", "threads", "passages", "texts", "doc_maxlen")
#: The function of a user's file.
FUNCTION = "model"
_MEND = f"have its function {FUNCTION}() return a module and its inputs: a tensor, or a tuple or dict of them"


@dataclass(frozen=True)
class Pass:
    """Something to run under a recorder.

    Attributes
    ----------
    slug, description : str
        Name of its folder, and what it is in words.
    kind : str
        ``forward`` or ``index``.
    given : mapping of str to str
        sha256 of what it reads beside the model's weights, by name.
    call : callable
        Runs it and returns its output. It enters ``no_grad``, autocast and random seeds itself.
    watch : callable
        Gets a list and an `ExitStack`. Until the stack is closed, the list's last item names the module, or the
        function of colbert-ai, that is running.
    """

    slug: str
    description: str
    kind: str
    given: Mapping[str, str]
    call: Callable[[], Any]
    watch: Callable[[list[str], ExitStack], None]


@dataclass(frozen=True)
class Loaded:
    """A model in memory with the passes that run on it.

    Attributes
    ----------
    arm : mapping
        What a manifest says of the arm.
    model : torch.nn.Module
        In evaluation mode. A checkpoint's is its BERT, as ``LM``, and the projection.
    passes : tuple of Pass
        In the order in which they run.
    inputs : mapping of str to str
        sha256 of the ``collection`` or the ``file``, and of the ``weights``: of all weights' hashes by name.
    """

    arm: Mapping[str, Any]
    model: torch.nn.Module
    passes: tuple[Pass, ...]
    inputs: Mapping[str, str]


@contextmanager
def load(asked: PassRequest) -> Iterator[Loaded]:
    """Load the checkpoint, or the user's module, and yield it with its passes, in the arm's precision and in silence.

    Raises
    ------
    ReportlibError
        When what was asked for cannot be used.
    """
    with quiet():
        torch.set_num_threads(asked.arm.threads)
        if asked.model is None:
            from reportlib.trace.indexing import load_checkpoint as open_model  # brings colbert-ai
        else:
            open_model = load_module
        with open_model(asked) as loaded:
            yield loaded


def arm_of(request: CaptureRequest) -> dict[str, Any]:
    """Return what a manifest says of the arm."""
    settings = asdict(request)
    return {"name": request.arm, **{name: settings[name] for name in _ARM}}


def weight_digests(model: torch.nn.Module) -> dict[str, str]:
    """Hash every weight of a model, by its name."""
    return {name: tensor_digest(tensor) for name, tensor in model.state_dict().items()}


def weights_digest(weights: Mapping[str, str]) -> str:
    """Return one hash of all weights' hashes by name."""
    return digest(canonical_json(weights).encode())


def torch_description() -> dict[str, str | None]:
    """Return what a manifest says of torch: its version, and the instruction set of its own kernels."""
    # torch before 2.1.0 says it in its configuration only.
    capability = torch.__config__.show().partition("CPU capability usage: ")[2].partition("\n")[0].strip()
    return {"version": torch.__version__, "cpu_capability": capability or None}


@contextmanager
def computing(precision: str, device: str) -> Iterator[None]:
    """Compute in a precision what is not colbert-ai's, without gradients."""
    half = torch.bfloat16 if device == "cpu" else torch.float16
    with torch.no_grad(), torch.autocast(device, dtype=half, enabled=precision == "autocast"):
        yield


def watch_modules(model: Any, running: list[str], stack: ExitStack) -> None:
    """Keep the names of the modules of `model` that are running in `running`, until `stack` is closed."""

    def enter(name: str) -> Callable[..., None]:
        return lambda _module, _args: running.append(name)

    def leave(_module: Any, _args: Any, _output: Any) -> None:
        running.pop()

    for name, module in model.named_modules():
        stack.callback(module.register_forward_pre_hook(enter(name)).remove)
        stack.callback(module.register_forward_hook(leave).remove)


# A module of the user's own.


@contextmanager
def load_module(asked: PassRequest) -> Iterator[Loaded]:
    """Load the module of a file and yield it with its one pass.

    Torch's random numbers are seeded with 0 before the file runs.
    """
    request, file = asked.arm, asked.model
    assert file is not None  # noqa: S101  (`load` asks)
    module, args, kwargs = read_module(file)
    args, kwargs = tree_map(_to(request.device), (args, kwargs))
    module.to(request.device)
    named = [(str(place), value) for place, value in enumerate(args)] + list(kwargs.items())
    given = {f"input {name}": _inputs_digest(value) for name, value in named}
    weights = weight_digests(module)
    only = Pass(
        slug=MODULE_SLUG,
        description=f"{type(module).__name__} of {file.name}",
        kind="forward",
        given=given | weights,
        call=partial(_forward, module, args, kwargs, request.precision, request.device),
        watch=partial(watch_modules, module),
    )
    yield Loaded(arm_of(request), module, (only,), {"file": digest_file(file), "weights": weights_digest(weights)})


def read_module(file: Path) -> tuple[torch.nn.Module, tuple[Any, ...], dict[str, Any]]:
    """Return what the function of a user's file gives: a module in evaluation mode, and its arguments.

    Raises
    ------
    CaptureError
        When the file fails, or gives something else.
    """
    torch.manual_seed(0)
    try:
        names = runpy.run_path(str(file))
        made = names[FUNCTION]() if callable(names.get(FUNCTION)) else None
    except Exception as error:
        raise CaptureError(f"{file.name} fails: {type(error).__name__}: {error}", "run it with Python alone") from error
    if FUNCTION not in names:
        raise CaptureError(f"{file.name} has no function {FUNCTION}", _MEND)
    if not (isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], torch.nn.Module)):
        raise CaptureError(f"{FUNCTION}() of {file.name} returns {_kind(made)}", _MEND)
    module, inputs = made
    kwargs = dict(inputs) if isinstance(inputs, Mapping) else {}
    args = () if isinstance(inputs, Mapping) else tuple(inputs) if isinstance(inputs, Sequence) else (inputs,)
    if not any(map(torch.is_tensor, tree_flatten((args, kwargs))[0])):
        raise CaptureError(f"{FUNCTION}() of {file.name} returns a module, and no tensor as its input", _MEND)
    return module.eval(), args, kwargs


def _kind(value: Any) -> str:
    kinds = ", ".join(type(part).__name__ for part in value) if isinstance(value, tuple) else ""
    return f"a tuple of {kinds}" if kinds else f"a {type(value).__name__}"


def _to(device: str) -> Callable[[Any], Any]:
    return lambda value: value.to(device) if torch.is_tensor(value) else value


def _inputs_digest(value: Any) -> str:
    leaves = [tensor_digest(leaf) if torch.is_tensor(leaf) else repr(leaf) for leaf in tree_flatten(value)[0]]
    return leaves[0] if len(leaves) == 1 else digest(canonical_json(leaves).encode())


def _forward(module: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], precision: str, device: str) -> Any:
    with computing(precision, device):
        output = module(*args, **kwargs)
    tensors = [leaf for leaf in tree_flatten(_plain(output))[0] if torch.is_tensor(leaf)]
    if not tensors:
        raise CaptureError(f"{type(module).__name__} returns {_kind(output)}", "have it return tensors")
    # Several outputs are one here: their bytes, one after the other.
    return (
        tensors[0]
        if len(tensors) == 1
        else torch.cat([t.contiguous().view(t.numel()).view(torch.uint8) for t in tensors])
    )


def _plain(output: Any) -> Any:
    """Return an output as tuples, lists and dicts: a model's own class of output is a mapping, or has fields."""
    if isinstance(output, Mapping):
        return dict(output)
    return vars(output) if hasattr(output, "__dataclass_fields__") else output
