"""What a test needs and this machine lacks is a reason to skip, said out loud; nothing else is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

#: Marker, whether its tests can run here, and why not.
_NEEDS = (
    ("network", os.environ.get("REPORTLIB_TEST_NETWORK") == "1", "needs a hub; set REPORTLIB_TEST_NETWORK=1"),
    ("conda", os.environ.get("REPORTLIB_TEST_NETWORK") == "1", "needs a conda channel; set REPORTLIB_TEST_NETWORK=1"),
    ("gpu", Path("/dev/nvidia0").exists(), "needs an NVIDIA GPU"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests whose needs are not met."""
    for item in items:
        for marker, there, reason in _NEEDS:
            if marker in item.keywords and not there:
                item.add_marker(pytest.mark.skip(reason=reason))
