"""The garbage collector leaves alone what a service has loaded."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tapeline.runtime.collector import THRESHOLDS, spare_what_is_loaded


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """As it was, afterwards."""
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def test_what_is_loaded_is_not_walked_through_again() -> None:
    held = [[number] for number in range(1000)]
    spare_what_is_loaded()
    assert gc.get_threshold() == THRESHOLDS
    assert gc.get_freeze_count() > len(held)
