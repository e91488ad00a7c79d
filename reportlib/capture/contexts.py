"""What stands in colbert-ai's way for as long as a ``with`` block lasts: its precision, and where its k-means runs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any
from unittest import mock

import colbert.indexing.collection_indexer as collection_indexer
import torch
from colbert.utils.amp import MixedPrecisionManager


def precision_context(precision: str, device: str) -> Callable[..., Any] | None:
    """Return what takes the place of colbert-ai's autocast, or None where its own does the right thing.

    On a GPU colbert-ai runs float16 autocast; on a CPU the same line is without effect, and it runs float32.
    So float32 on a GPU and (bfloat16) autocast on a CPU have to be put in its place.
    """
    if precision == "autocast" and device == "cpu":
        return lambda _manager: torch.autocast("cpu", dtype=torch.bfloat16)
    if precision == "float32" and device == "cuda":
        return lambda _manager: nullcontext()
    return None


def quiet_cpu_kmeans() -> Any:
    """Return a context in which colbert-ai's k-means runs on the CPU, even where torch sees a GPU, and in silence.

    Only torch is to vary between arms, and faiss-cpu has no GPU k-means to offer. faiss prints from C++, where no
    Python stream can be put in the way.
    """
    kmeans = collection_indexer.faiss.Kmeans

    def on_cpu(*args: Any, **kwargs: Any) -> Any:
        return kmeans(*args, **{**kwargs, "gpu": False, "verbose": False})

    return mock.patch.object(collection_indexer.faiss, "Kmeans", on_cpu)


def precision(name: str, device: str) -> Any:
    """Return a context in which colbert-ai computes in the precision `name` on `device`."""
    replacement = precision_context(name, device)
    if replacement is None:
        return nullcontext()
    return mock.patch.object(MixedPrecisionManager, "context", replacement)
