"""What the reference post's four tables say, to stand beside this study's own results.

The post is "Comparing colbert-ai Artifacts Between PyTorch Versions 2.0.1 and 2.1.0" (2025-09-13,
id F1). Its figures were measured on an L4 GPU under float16 autocast; they are quoted, never taken
for this study's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SOURCE = "post 2025-09-13, L4 GPU, float16 autocast"
#: The versions that the post compared.
VERSIONS = ("2.0.1", "2.1.0")


@dataclass(frozen=True)
class PostRow:
    """One row of the post: `equal` for integers, `default` and `bnb` for floats."""

    dtype: str
    equal: str | None = None
    default: bool | None = None
    bnb: bool | None = None

    @property
    def verdict(self) -> str:
        """The row's result in words."""
        if self.equal is not None:
            return self.equal
        return f"default {self.default}, bnb {self.bnb}"


#: Artifact to row, in the post's order.
ROWS: Mapping[str, PostRow] = {
    "index/codes": PostRow("int32", equal="False"),
    "index/residuals": PostRow("uint8", equal="False"),
    "index/ivf": PostRow("int32", equal="shape mismatch"),
    "index/ivf_lengths": PostRow("int64", equal="False"),
    "index/avg_residual": PostRow("float16", default=False, bnb=True),
    "index/bucket_cutoffs": PostRow("float32", default=False, bnb=False),
    "index/bucket_weights": PostRow("float16", default=False, bnb=True),
    "index/centroids": PostRow("float16", default=False, bnb=False),
    "sample_pids": PostRow("int", equal="True"),
    "num_passages": PostRow("int", equal="True"),
    "doclens": PostRow("int", equal="True"),
    "local_sample_embs": PostRow("float16", default=False, bnb=False),
    "sample": PostRow("float16", default=False, bnb=False),
    "sample_heldout": PostRow("float16", default=False, bnb=False),
    "batches": PostRow("float16", default=False, bnb=False),
    "D": PostRow("float16", default=False, bnb=False),
}


def applies(version_a: str, version_b: str) -> bool:
    """Return whether the post compared these versions of torch (``+cpu`` and the like aside)."""
    return (version_a.split("+")[0], version_b.split("+")[0]) == VERSIONS


def beside(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the post's row for one of our comparisons, and whether it agrees."""
    row = ROWS.get(record["artifact"])
    if row is None:
        return None
    agrees: bool | None
    if record["verdict"] == "missing":
        agrees = None
    elif row.equal is not None:
        agrees = _equality(record["verdict"]) == row.equal
    else:
        agrees = (record["default"], record["bnb"]) == (row.default, row.bnb)
    ours = {side["dtype"].removeprefix("list of ") for side in (record["a"], record["b"]) if side}
    return {
        "source": SOURCE,
        "dtype": row.dtype,
        "equal": row.equal,
        "default": row.default,
        "bnb": row.bnb,
        "verdict": row.verdict,
        "agrees": agrees,
        "dtype_agrees": ours == {row.dtype},
    }


def _equality(verdict: str) -> str:
    """Return what ``torch.equal`` says where a verdict is given; it does not know `same set`."""
    return {"identical": "True", "shape mismatch": "shape mismatch"}.get(verdict, "False")
