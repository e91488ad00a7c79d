"""Swaps: colbert-ai indexes again and again, each time with other values put in the place of its own.

All sets of one arm and one donor are made in one process. BERT never runs: embeddings come from a capture in every
swap, this arm's own or the donor's. Nor is anything else computed again that no replaced value could have changed, or
k-means on a sample that it had before (`sources`): the control that repeats an arm shows that it would come out the
same.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import colbert.indexing.collection_indexer as collection_indexer
import numpy as np
import torch

from reportlib.artifacts import SWAP_POINTS, downstream
from reportlib.capture.instruments import Instruments
from reportlib.capture.process import Progress, require_origin
from reportlib.capture.request import SwapRequest
from reportlib.capture.session import Setup, shared_settings, store_index
from reportlib.errors import CaptureError
from reportlib.store import Capture, CaptureWriter
from reportlib.study import Arm

_KMEANS = "kmeans_centroids"
#: Wide intermediate values that follow from `centroids`, `codes` and `embs`: nothing takes them from a capture.
_LEFT_OUT = frozenset({"compress_centroids", "compress_residuals"})


def sources(points: Sequence[str], donor: Capture, own: Capture, made: Iterable[Capture] = ()) -> dict[str, Capture]:
    """Return for each swap point the capture that its value comes from; a point that is not there is computed.

    Parameters
    ----------
    points : sequence of str
        The swap points to replace.
    donor, own : Capture
        The donor's plain capture, and this arm's own. The points that nothing replaced reaches are replayed from it.
    made : iterable of Capture
        Other swaps of the same series. k-means, by far the most expensive step, is not run again on the same sample.
    """
    reached = set(points).union(*(downstream(name) for name in points))
    found = {name: donor if name in points else own for name in SWAP_POINTS if name in points or name not in reached}
    if _KMEANS not in found:
        upstream = {name for name in SWAP_POINTS if _KMEANS in downstream(name)}
        for capture in made:
            swapped = capture.arm["swap"]
            same_sample = upstream.intersection(swapped) == upstream.intersection(points)
            if same_sample and _KMEANS not in swapped and capture.group(_KMEANS):
                found[_KMEANS] = capture
    return found


class SwapSeries:
    """The swapped captures of one arm with the values of one donor.

    Everything that could fail is checked on creation. Each set's capture is a folder of its own, written atomically,
    so that what is done is kept when a series is cut off. Tensors that another capture of the series, or one of the
    two plain ones, has already are not stored again. ColBERT's index folder is not kept: its content is in the
    artifacts.

    Parameters
    ----------
    request : SwapRequest
        What to do.

    Raises
    ------
    CaptureError
        Or one of its kind: what `reportlib.capture.session.Setup` refuses, or plain captures that do not fit.
    """

    def __init__(self, request: SwapRequest) -> None:
        self.request = request
        self.setup = Setup(request)
        self.donor, self.own = Capture.open(request.donor_folder), Capture.open(request.own_folder)
        self._check(self.donor, request.donor)
        self._check(self.own, request.environment)
        self._check_tokens()
        self._provenance = self.setup.provenance({})
        self.progress = Progress(request.arm)

    def _check(self, capture: Capture, environment: str) -> None:
        name, arm = capture.path.name, capture.arm
        if capture.provenance["inputs"] != self.setup.inputs:
            raise CaptureError(
                f"the capture {name} was made from another collection or checkpoint",
                "capture both arms from the same inputs",
            )
        for key, value in shared_settings(self.request, environment).items():
            if arm.get(key) != value:
                raise CaptureError(
                    f"the capture {name} has {key} = {arm.get(key)!r}; these swaps need {value!r}",
                    "capture both arms with the settings of the swaps",
                )
        require_origin(capture, environment)
        missing = [a for each in SWAP_POINTS.values() for a in each.artifacts if not capture.group(a)]
        if missing:
            raise CaptureError(f"the capture {name} has no {', '.join(missing)}", "give plain captures, not controls")

    def _check_tokens(self) -> None:
        """Refuse captures whose token embeddings do not correspond one to one."""
        for name in ("doclens", "sample_doclens"):
            if self.donor.value(name) != self.own.value(name):
                raise CaptureError(
                    f"{name} differs between the captures: the tokens of one are not those of the other",
                    "compare these environments without swaps",
                )

    def run(self) -> list[dict[str, Any]]:
        """Make the capture of every set that is not there yet.

        Returns
        -------
        list of dict
            ``points`` of the set, and ``seconds`` that its capture took (0 for one that was there).
        """
        done: list[dict[str, Any]] = []
        made: list[Capture] = []
        with _OneCheckpoint():
            for number, arm in enumerate(self.request.arms):
                folder = self.request.output_folder / "+".join(arm.swap)
                started = time.monotonic()
                if found := folder.exists():
                    capture = Capture.open(folder)
                    require_origin(capture, arm.environment)
                else:
                    self.progress.stage(f"swap {number + 1} of {len(self.request.arms)}: {' + '.join(arm.swap)}")
                    capture = self._capture(arm, folder, made)
                made.append(capture)
                seconds = 0.0 if found else round(time.monotonic() - started, 2)
                done.append({"points": folder.name, "seconds": seconds})
        self.progress.stage(f"done in {sum(float(each['seconds']) for each in done):.0f} s")
        return done

    def _capture(self, arm: Arm, folder: Path, made: Sequence[Capture]) -> Capture:
        with CaptureWriter(folder, pool=(*made, self.donor, self.own)) as writer:
            started = time.monotonic()
            taken = sources(arm.swap, self.donor, self.own, made)
            with self.setup.colbert(writer):
                with Instruments(writer, self.progress, 0, sources=taken, left_out=_LEFT_OUT):
                    self.setup.index(writer)
                store_index(writer)
            shutil.rmtree(writer.index_folder)
            (writer.partial / "colbert.log").unlink()
            durations = {"index": round(time.monotonic() - started, 3)}
            writer.describe(self.request.describe(arm), {**self._provenance, "durations": durations})
        return Capture.open(folder)


class _OneCheckpoint:
    """Lets colbert-ai's indexer load its checkpoint once for all indexes made inside the ``with`` block.

    Loading draws random numbers, and the sample is shuffled with those that follow: so their state after loading is
    put back instead.
    """

    def __init__(self) -> None:
        self._load = collection_indexer.Checkpoint
        self._patch = mock.patch.object(collection_indexer, "Checkpoint", self._checkpoint)
        self._kept: tuple[Any, ...] | None = None

    def __enter__(self) -> _OneCheckpoint:
        self._patch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._patch.stop()

    def _checkpoint(self, *args: Any, **kwargs: Any) -> Any:
        if self._kept is None:
            loaded = self._load(*args, **kwargs)
            # colbert-ai seeds the global generators.
            self._kept = loaded, random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
        loaded, python, numpy, own = self._kept
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(own)
        return loaded
