"""A run leaves nothing behind: its records go when nobody holds them, without the collector."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator

import pytest
from engine_samples import bars, setup

from tapeline.backtest.engine.run import run_market

CLOSES = [100.0 + 5 * (number // 6 % 2) for number in range(600)]
RUNS_MAX = 12
"""The first keep some places for the next records, a set number of each size."""
BYTES_A_RUN_MAX = 4096
"""less than the records of three orders; a run has nearly a hundred"""


@pytest.fixture
def traced() -> Iterator[None]:
    """Counts what is allocated, while the collector stands still."""
    gc.collect()
    gc.disable()
    tracemalloc.start()
    yield
    tracemalloc.stop()
    gc.enable()


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("is_scalar", [False, True])
def test_a_run_leaves_nothing_behind(is_scalar: bool) -> None:
    market, plan = bars(CLOSES, CLOSES), setup()
    left: list[int] = []
    while len(left) < RUNS_MAX:
        before, _ = tracemalloc.get_traced_memory()
        found = run_market(plan, market, is_scalar=is_scalar)
        assert len(found.said.approvals) > 90
        del found
        left.append(tracemalloc.get_traced_memory()[0] - before)
        if left[-1] < BYTES_A_RUN_MAX:
            return
    raise AssertionError(f"bytes that each run left: {left}")
