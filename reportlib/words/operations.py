"""PyTorch's operations in a reader's words, for someone who never read its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Words:
    """What to call an operation.

    Attributes
    ----------
    short : str
        A noun for a sentence: ``softmax``.
    meaning : str
        What it does, and what it is for in the encoder or in the index.
    """

    short: str
    meaning: str


_MATRIX = "a matrix product: the linear layers and the attention scores are made of these"
#: By name without namespace, leading underscores and a trailing underscore (the in-place form).
_WORDS: Mapping[str, Words] = {
    "gelu": Words("GELU", "the activation function between the two large linear layers of each encoder layer"),
    "softmax": Words("softmax", "turns attention scores into weights that sum to one"),
    "div": Words("division", "divides; in attention, the scores by the square root of the head's width"),
    "mul": Words("multiplication", "multiplies element by element"),
    "add": Words("addition", "adds element by element; also each layer's input to its output"),
    "sub": Words("subtraction", "subtracts element by element"),
    "bmm": Words("batched matrix product", "multiplies many pairs of matrices: the attention scores, and their use"),
    "baddbmm": Words("batched matrix product", "multiplies many pairs of matrices and adds a third"),
    "mm": Words("matrix product", _MATRIX),
    "addmm": Words("linear layer", "a matrix product with a bias added"),
    "linear": Words("linear layer", "a matrix product with a bias added"),
    "matmul": Words("matrix product", _MATRIX),
    "native_layer_norm": Words("layer norm", "brings each token's values to mean 0 and variance 1, then scales them"),
    "scaled_dot_product_attention": Words("attention", "scores, softmax and their use in one operation"),
    "linalg_vector_norm": Words("vector norm", "the length of each embedding, by which it is divided"),
    "norm": Words("vector norm", "the length of each embedding, by which it is divided"),
    "sort": Words("sorting", "puts numbers in order and says where each stood; equal ones have no order of their own"),
    "topk": Words("top-k selection", "picks the largest numbers and says where they stood"),
    "max": Words("maximum", "the largest number, and where it stands"),
    "argmax": Words("maximum", "where the largest number stands"),
    "sum": Words("sum", "adds many numbers up; the order of adding decides how they round"),
    "mean": Words("mean", "adds many numbers up and divides; the order of adding decides how they round"),
    "cumsum": Words("running sum", "adds numbers up one after the other"),
    "tanh": Words("tanh", "the hyperbolic tangent of each value"),
    "exp": Words("exponential", "e to the power of each value"),
    "erf": Words("error function", "the function inside GELU"),
    "sqrt": Words("square root", "the square root of each value"),
    "rsqrt": Words("inverse square root", "one over the square root of each value"),
    "pow": Words("power", "raises each value to a power"),
    "quantile": Words("quantile", "the value below which a share of all values lies"),
    "bucketize": Words("bucketing", "says between which two boundaries each value lies"),
    "to_copy": Words("conversion", "copies values into another dtype, rounding them"),
    "copy": Words("copy", "copies values, into another dtype where that is asked for"),
    "embedding": Words("embedding lookup", "reads one row of a table for each token"),
    "kmeans": Words("k-means", "faiss's clustering of the sample into centroids"),
}  # fmt: skip


def words(cause: Mapping[str, Any]) -> Words:
    """Return what to call a cause's operation; its own name where no words are known for it."""
    own = str(cause["name"]).rpartition("::")[2]
    known = _WORDS.get(own.strip("_"))
    return known or Words(f"`{own}`", "an operation of PyTorch")


def names(causes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the causes' short names in order; operations that share one get their own name beside it.

    ``["GELU", "softmax"]``; ``["softmax in float32", "softmax in bfloat16"]``.
    """
    short = [words(cause).short for cause in causes]
    return [
        f"{name} in {'/'.join(cause['dtypes'])}" if short.count(name) > 1 and cause["dtypes"] else name
        for name, cause in zip(short, causes, strict=True)
    ]
