"""Capture one arm: run colbert-ai inside an environment and take what it computes.

Importing this package imports no torch: `prepare_process` must come first, since devices and threads are settled
when torch is imported.
"""

from __future__ import annotations

import os
import sys
from typing import TypeVar

from reportlib.capture.request import ArmRequest, CaptureRequest, SwapRequest
from reportlib.errors import CaptureError

__all__ = ["ArmRequest", "CaptureRequest", "SwapRequest", "prepare_process", "settled_variables"]

Request = TypeVar("Request", bound=ArmRequest)
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def settled_variables(device: str) -> frozenset[str]:
    """Return the environment variables that `prepare_process` sets itself, whatever they were."""
    hidden = {"CUDA_VISIBLE_DEVICES"} if device == "cpu" else set()
    return frozenset({*_THREADS, "TOKENIZERS_PARALLELISM", *hidden})


def prepare_process(request: Request) -> Request:
    """Settle, before torch is imported, which environment, device, threads and variables this process has.

    Parameters
    ----------
    request : ArmRequest
        Device ``cpu`` hides every GPU: colbert-ai takes one wherever torch sees it. `threads` is for OpenMP, MKL
        and OpenBLAS; `reportlib.capture.setup.Setup` sets torch's and faiss's own.

    Returns
    -------
    ArmRequest
        The same, what it left to this process filled in: the environment that runs.

    Raises
    ------
    WrongEnvironmentError
        When this process is not the environment that the request names.
    CaptureError
        When torch is imported already.
    """
    request = request.settled()
    if "torch" in sys.modules:
        raise CaptureError("torch is imported already in this kernel", "restart the kernel and run all cells")
    for name in _THREADS:
        os.environ[name] = str(request.threads)
    # colbert-ai tokenizes in this process; more threads there only raise warnings after a fork.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    if request.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ.update(request.variables)
    return request
