"""A history to look at: readings in order of time, and the configuration that decides on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from tapeline.agents.config_book import ConfigBook, book_of
from tapeline.agents.trigger import Reading
from tapeline.backtest.engine.market import Market
from tapeline.backtest.engine.records import Records
from tapeline.backtest.engine.setup import Setup
from tapeline.backtest.recorded_topics import RecordedTopics
from tapeline.contracts import topics
from tapeline.contracts.agents import LlmCall
from tapeline.contracts.market import Bar, MacroReading

CANARY: Final = 7.0
"""Factor of the prices of a record from the future: nobody could overlook it."""


Slice: TypeAlias = tuple[int, tuple[Reading, ...]]
"""Its end, nanoseconds UTC, and what came in it"""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What was there to know, and who decided on it."""

    run_id: str
    book: ConfigBook
    slices: tuple[Slice, ...]
    calls: tuple[LlmCall, ...] = field(default=())
    """recorded answers of language models"""

    @property
    def times(self) -> tuple[int, ...]:
        """End of each slice, nanoseconds UTC."""
        return tuple(end_ns for end_ns, _ in self.slices)

    def until(self, count: int) -> History:
        """The first slices alone."""
        return replace(self, slices=self.slices[:count])

    def canaries(self) -> tuple[Reading, ...]:
        """One record from the future for each instrument and series, unlike all others."""
        last: dict[tuple[str, int], Reading] = {}
        for _, readings in self.slices:
            for reading in readings:
                last[_kind_of(reading)] = reading
        end_ns = self.times[-1]
        return tuple(_from_the_future(reading, end_ns) for reading in last.values())


def _kind_of(reading: Reading) -> tuple[str, int]:
    if isinstance(reading, Bar):
        return reading.instrument_id, reading.interval_ns
    return reading.series, 0


def _from_the_future(reading: Reading, end_ns: int) -> Reading:
    if isinstance(reading, MacroReading):
        return replace(reading, value=reading.value * CANARY, ts_event_ns=end_ns + 1)
    ahead_ns = end_ns - reading.ts_event_ns + 10 * reading.interval_ns
    return replace(
        reading,
        ts_open_ns=reading.ts_open_ns + ahead_ns,
        ts_event_ns=reading.ts_event_ns + ahead_ns,
        open=reading.open * CANARY,
        high=reading.high * CANARY,
        low=reading.low * CANARY,
        close=reading.close * CANARY,
    )


def sliced(readings: Iterable[Reading], ends: Iterable[int] = ()) -> tuple[Slice, ...]:
    """Readings by the end of their slice, in order of time; without ends each time is one."""
    ordered = sorted(readings, key=lambda reading: reading.ts_event_ns)
    times = {reading.ts_event_ns for reading in ordered}
    found: list[Slice] = []
    position = 0
    for end_ns in sorted(set(ends) or times):
        first = position
        while position < len(ordered) and ordered[position].ts_event_ns <= end_ns:
            position += 1
        found.append((end_ns, tuple(ordered[first:position])))
    return tuple(found)


def history_of_file(setup: Setup, market: Market) -> History:
    """The closed bars of a file, under one strategy."""
    records = Records(setup, market)
    book = book_of((*setup.records(), setup.trigger()))
    bars = [records.bar(index) for index in range(market.closed_count)]
    return History(run_id=setup.run_id, book=book, slices=sliced(bars))


def history_of_run(recorded: RecordedTopics, run_id: str) -> History:
    """The bars and macro readings of a recorded run, under its triggers and groups."""
    config: Sequence[object] = recorded.records(topics.CONFIG)
    readings: list[Reading] = [
        *(item for item in recorded.records(topics.BARS) if isinstance(item, Bar)),
        *(item for item in recorded.records(topics.MACRO) if isinstance(item, MacroReading)),
    ]
    calls = tuple(item for item in recorded.records(topics.LLM_CALLS) if isinstance(item, LlmCall))
    ends = {mark.ts_event_ns for mark in recorded.watermarks(topics.BARS)}
    slices = sliced(readings, ends)
    return History(run_id=run_id, book=book_of(config), slices=slices, calls=calls)
