"""Compare the outputs of BERT's layers, and the weights that they come from (posts A5-A7, F5)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from reportlib.compare import tensors
from reportlib.compare.chunks import Chunked
from reportlib.errors import ComparisonError
from reportlib.store import Capture

Record = dict[str, Any]
#: What each layer's line takes over from the tensor comparison.
_NUMBERS = ("verdict", "tolerance", "elements", "different", "mean_abs", "max_abs", "max_ulp",
            "default", "bnb", "smallest_atol", "bnb_factor")  # fmt: skip


def compare_layers(a: Capture, b: Capture) -> list[Record]:
    """Compare the layer outputs of every input, layer by layer.

    Returns
    -------
    list of dict
        The ``layers`` of ``docs/schema.md``; empty where a capture has none.

    Raises
    ------
    ComparisonError
        When the captures ran different inputs through BERT.
    """
    if "layer_inputs" not in a.artifacts or "layer_inputs" not in b.artifacts:
        return []
    inputs, others = a.value("layer_inputs"), b.value("layer_inputs")
    # Unlike numbers of tokens are a finding (another tokenizer); unlike texts are a mistake.
    if _texts(inputs) != _texts(others):
        raise ComparisonError(
            f"{a.path} and {b.path} ran different inputs through BERT",
            "capture both arms with the same texts, collection and tokenizer",
        )
    return [_input(a, b, each) for each in inputs]


def _texts(inputs: list[Record]) -> list[tuple[str, Any]]:
    return [(each["slug"], each.get("text")) for each in inputs]


def _input(a: Capture, b: Capture, given: Record) -> Record:
    layers = [_layer(a, b, name) for name in _names(a, b, given["slug"])]
    unlike = [each["layer"] for each in layers if each["verdict"] != "identical"]
    single = given["tokens"][0] == 1
    return {
        "slug": given["slug"],
        "text": given.get("text") if single else None,
        "passages": None if single else given["tokens"][0],
        "label": _label(given, single),
        "tokens": list(given["tokens"]),
        "first_difference": unlike[0] if unlike else None,
        "identical": len(layers) - len(unlike),
        "total": len(layers),
        "layers": layers,
    }


def _label(given: Record, single: bool) -> str:
    if single:
        return f"“{given.get('text', given['slug'])}”"
    return str(given.get("text") or f"{given['tokens'][0]} passages")


def _names(a: Capture, b: Capture, slug: str) -> list[str]:
    """Return the artifacts of one input: the embedding output, then the layers by number."""
    prefix = f"layers/{slug}/"
    found = {n for capture in (a, b) for n in capture.artifacts if n.startswith(prefix)}
    return sorted(found, key=lambda n: (n != f"{prefix}embeddings", n))


def _layer(a: Capture, b: Capture, artifact: str) -> Record:
    name = artifact.rsplit("/", 1)[1]
    line: Record = {
        "layer": str(int(name)) if name.isdigit() else name,
        "artifact": artifact,
        **dict.fromkeys(_NUMBERS),
        "dtype_a": a.artifacts[artifact].dtype if artifact in a.artifacts else None,
        "dtype_b": b.artifacts[artifact].dtype if artifact in b.artifacts else None,
    }
    if line["dtype_a"] is None or line["dtype_b"] is None:
        return {**line, "verdict": "missing"}
    found = asdict(tensors.compare(Chunked.load(a, artifact), Chunked.load(b, artifact)))
    return line | {key: found[key] for key in _NUMBERS}


def compare_weights(a: Capture, b: Capture) -> Record | None:
    """Compare the hashes of all loaded weights by name (post A5); None where a side has none."""
    if "weights" not in a.artifacts or "weights" not in b.artifacts:
        return None
    left, right = a.value("weights"), b.value("weights")
    if not left or not right:
        return None
    unlike = sorted(n for n in left.keys() & right.keys() if left[n] != right[n])
    missing = sorted(left.keys() ^ right.keys())
    return {
        "total": len(left.keys() | right.keys()),
        "different": len(unlike),
        "missing": missing,
        "names": unlike,
        "identical": not unlike and not missing,
    }
