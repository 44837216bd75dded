"""What a replay learns from the beginning of a journal."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tapeline.backtest.run_replay import STRETCH, is_paced
from tapeline.contracts import topics
from tapeline.contracts.system import Consumed, ConsumedBatch
from tapeline.runtime.codec import encode
from tapeline.runtime.log import Raw
from tapeline.runtime.log_reader import LogReader

PLACE = (topics.JOURNAL, 3)


class Journal:
    """Records of one partition by their offsets; the others are markers or aborted."""

    def __init__(self, records: dict[int, Consumed]) -> None:
        self._records = records

    def starts(self, _places: Any) -> dict[tuple[str, int], int]:
        return {PLACE: 0}

    def ends(self, _places: Any) -> dict[tuple[str, int], int]:
        return {PLACE: max(self._records, default=-1) + 2}

    def read(self, ranges: Any) -> dict[tuple[str, int], list[Raw]]:
        low, high = ranges[PLACE]
        return {
            PLACE: [
                Raw(*PLACE, offset, 0, b"risk/0", encode(record))
                for offset, record in self._records.items()
                if low <= offset < high
            ]
        }


def consumed(*slices: int) -> Consumed:
    """A journal record of batches with these slices."""
    return Consumed(
        service="risk",
        shard=0,
        sequence=1,
        run_id="run",
        build_id="build",
        batches=tuple(
            ConsumedBatch(session_ns=1, timers=(), slice=number, ranges=(), verdicts=())
            for number in slices
        ),
        output_count=0,
        output_digest=b"",
        ts_init_ns=1,
    )


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ({}, False),
        ({0: consumed(0)}, False),
        ({0: consumed(1, 2)}, True),
        ({0: consumed(), 2: consumed(1)}, True),
        ({0: consumed(), 2: consumed(0)}, False),
        ({0: consumed()}, False),
        ({STRETCH + 5: consumed(1)}, True),
    ],
    ids=[
        "empty",
        "real time",
        "paced",
        "nothing first",
        "nothing first, real time",
        "nothing",
        "aborted first",
    ],
)
def test_the_first_batch_tells_whether_a_run_was_paced(
    records: dict[int, Consumed], expected: bool
) -> None:
    assert is_paced(cast("LogReader", Journal(records)), PLACE[1]) is expected
