"""Instruments for what colbert-ai computes in the middle of a function: the parts of a chunk, and the sort."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from unittest import mock

import torch
from colbert.indexing.codecs.residual import ResidualCodec
from torch.overrides import TorchFunctionMode

Given = list[torch.Tensor] | None


class Compression:
    """Takes the parts of `ResidualCodec.compress` while a chunk is compressed, inside the ``with`` block.

    The codec's functions also run while the buckets are fitted, so they are wrapped for one chunk only. colbert-ai
    compresses a chunk in batches; their pieces are put together, and given values are cut into them.

    Parameters
    ----------
    codes, packed : list of one tensor, or None
        Take the place of the computed codes (one a token embedding), and of the packed residuals.
    """

    def __init__(self, codes: Given, packed: Given) -> None:
        self._pieces: dict[str, list[torch.Tensor]] = {
            "compress_codes": [], "compress_centroids": [], "compress_residuals": [], "packed": []
        }  # fmt: skip
        self._given = {"compress_codes": codes, "packed": packed}
        self._stack = ExitStack()

    def __enter__(self) -> Compression:
        self._wrap("compress_into_codes", "compress_codes")
        self._wrap("lookup_centroids", "compress_centroids")
        self._wrap("binarize", "packed")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def taken(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield each part's name and values; the packed residuals are read from ColBERT's file instead."""
        for name, pieces in self._pieces.items():
            if name != "packed":
                yield name, torch.cat(pieces)

    def _wrap(self, function: str, name: str) -> None:
        original = getattr(ResidualCodec, function)

        def wrapped(codec: Any, values: torch.Tensor, **kwargs: Any) -> Any:
            if name == "packed":
                self._pieces["compress_residuals"].append(values.cpu())
            result = self._piece(name, original, codec, values, **kwargs)
            self._pieces[name].append(result.cpu())
            return result

        self._stack.enter_context(mock.patch.object(ResidualCodec, function, wrapped))

    def _piece(self, name: str, original: Callable[..., Any], codec: Any, values: torch.Tensor, **kwargs: Any) -> Any:
        given = self._given.get(name)
        if given is None:
            return original(codec, values, **kwargs)
        start = sum(map(len, self._pieces[name]))
        return given[0][start : start + len(values)].to(values.device)


class SortWatcher(TorchFunctionMode):  # type: ignore[misc]
    """Takes what `_build_ivf` sorts: a tensor method called there is in no function that could be wrapped.

    With `given` values and indices it hands these on, and what it sorted stays unused.
    """

    def __init__(self, take: Callable[[str, torch.Tensor], None], given: Given) -> None:
        super().__init__()
        self.take = take
        self.given = given
        self.seen = False

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.Tensor.sort and not self.seen:
            self.seen = True
            if self.given is not None:
                result = torch.return_types.sort(self.given)
            self.take("presort_codes", args[0])
            self.take("sorted_codes", result.values)
            self.take("sort_indices", result.indices)
        return result
