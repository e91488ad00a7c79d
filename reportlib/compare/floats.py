"""The floating-point formats, for comparisons: see `reportlib.floats`, which environments import too."""

from __future__ import annotations

from reportlib.floats import (
    FORMATS,
    Array,
    Floats,
    Format,
    bits,
    is_float,
    nan_and_inf,
    narrow,
    not_finite,
    ulp_distance,
    widen,
)

__all__ = [
    "FORMATS",
    "Array",
    "Floats",
    "Format",
    "bits",
    "is_float",
    "nan_and_inf",
    "narrow",
    "not_finite",
    "ulp_distance",
    "widen",
]
