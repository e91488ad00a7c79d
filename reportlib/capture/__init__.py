"""Capture one arm: run colbert-ai inside an environment and take what it computes.

Importing this package imports no torch: `prepare_process` must come first, since devices and threads are settled
when torch is imported.
"""

from __future__ import annotations

import os
import sys

from reportlib.capture.request import CaptureRequest
from reportlib.errors import CaptureError

__all__ = ["CaptureRequest", "prepare_process"]


def prepare_process(request: CaptureRequest) -> None:
    """Settle, before torch is imported, which device, threads and variables this process has.

    Parameters
    ----------
    request : CaptureRequest
        Device ``cpu`` hides every GPU: colbert-ai takes one wherever torch sees it. `threads` is for OpenMP, MKL
        and OpenBLAS; `reportlib.capture.session.Session` sets torch's and faiss's own.

    Raises
    ------
    CaptureError
        When torch is imported already.
    """
    if "torch" in sys.modules:
        raise CaptureError("torch is imported already in this kernel", "restart the kernel and run all cells")
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(request.threads)
    # colbert-ai tokenizes in this process; more threads there only raise warnings after a fork.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    if request.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ.update(request.variables)
