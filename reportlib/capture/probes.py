"""Probes of `torch.sort` on a CPU: in which order equal integers come out.

A sort that is not asked to be stable may leave equal keys in any order. Whether it does is a matter of size, dtype
and version, so each probe records the order beside what ``stable=True`` gives for the same input.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from reportlib.capture.tensors import tensor_digest
from reportlib.store import CaptureWriter

SIZES = (1_024, 16_384, 32_767, 32_768, 32_769, 65_536)
DTYPES = (torch.int64, torch.int32, torch.float32)
#: The example of post 2025-09-09 (id D6).
POST_D6 = (42, 16_383, 1_146_937)


def capture_sort_probes(writer: CaptureWriter) -> None:
    """Add the value ``sort_probes``: a list of records, one a probe.

    Each has ``size``, ``dtype``, ``source`` and the sha256 of the input, the sorted values, the indices and the
    indices of a stable sort; ``is_stable`` compares the last two.
    """
    writer.value("sort_probes", [_probe(*case) for case in _cases()], "invert")


def _cases() -> Iterator[tuple[str, torch.Tensor]]:
    for size in SIZES:
        # numpy's generator: the same integers whatever torch is installed. Few values, hence many ties.
        keys = np.random.Generator(np.random.PCG64(size)).integers(0, 256, size)
        for dtype in DTYPES:
            yield "ties", torch.from_numpy(keys).to(dtype)
    seed, high, size = POST_D6
    yield "post D6", torch.randint(0, high, (size,), generator=torch.Generator().manual_seed(seed))


def _probe(source: str, keys: torch.Tensor) -> dict[str, Any]:
    values, indices = keys.sort()
    stable = keys.sort(stable=True).indices
    return {
        "size": keys.numel(),
        "dtype": str(keys.dtype).removeprefix("torch."),
        "source": source,
        "input_sha256": tensor_digest(keys),
        "values_sha256": tensor_digest(values),
        "indices_sha256": tensor_digest(indices),
        "stable_sha256": tensor_digest(stable),
        "is_stable": torch.equal(indices, stable),
    }
