"""Capture one arm: run colbert-ai inside an environment and take what it computes.

Importing this package imports no torch: `prepare_process` must come first, since devices and threads are settled
when torch is imported.
"""

from __future__ import annotations

import os

from reportlib.capture.request import CaptureRequest

__all__ = ["CaptureRequest", "prepare_process"]


def prepare_process(device: str, threads: int) -> None:
    """Settle, before torch is imported, which device and how many threads this process may use.

    Parameters
    ----------
    device : str
        ``cpu`` hides every GPU: colbert-ai takes one wherever torch sees it.
    threads : int
        For OpenMP, MKL and OpenBLAS; `reportlib.capture.session.Session` sets torch's and faiss's own.
    """
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    # colbert-ai tokenizes in this process; more threads there only raise warnings after a fork.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
