"""Capture one arm: run colbert-ai inside an environment and take what it computes.

Importing this package imports no torch: `prepare_process` must come first, since devices and threads are settled
when torch is imported.
"""

from __future__ import annotations

from reportlib.capture.process import prepare_process
from reportlib.capture.request import CaptureRequest, SwapRequest

__all__ = ["CaptureRequest", "SwapRequest", "prepare_process"]
