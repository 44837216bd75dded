"""Gathers the signals of one universe and says when a group decides on what.

In:  Signal and Watermark of one partition of signals, in its order.
Out: Closing (a slice is complete), with a Cycle's signals where one is due.

Rules:
- A slice n is complete when the watermarks of every expected source have reached n.
- A cycle takes the signals dated up to the end of the slice; later ones wait. So it does not
  matter in which order the sources' records lie on the partition.
- Of each (trigger, instrument_id) the latest signal counts, by (ts_event_ns, signal_id). One that
  is not later than what is held, a duplicate above all, is dropped; so is one whose horizon ended.
- A cycle is due when there is something new, or an opinion has ended, and the interval since the
  last cycle has passed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from tapeline.contracts.agents import Signal
from tapeline.contracts.system import Watermark

WAITING_COUNT_MAX: Final = 10_000
"""Signals that may wait for their slice; beyond it the furthest dated ones are dropped."""

Key = tuple[str, str]
"""trigger, instrument_id"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A signal, and where it lies."""

    signal: Signal
    offset: int
    correlation_id: str

    @property
    def key(self) -> Key:
        """What it is an opinion of, on what."""
        return self.signal.trigger, self.signal.instrument_id

    @property
    def age_key(self) -> tuple[int, str]:
        """Ascends from older to later."""
        return self.signal.ts_event_ns, self.signal.signal_id

    @property
    def end_ns(self) -> int:
        """From when on it no longer holds."""
        return self.signal.ts_event_ns + self.signal.horizon_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How far a source has come."""

    slice: int
    ts_event_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """Of the signals that waited between two cycles those as late as this were dropped."""

    age_key: tuple[int, str]
    after_ns: int
    after_offset: int
    """the cycle before: what that took did not wait any more"""
    until: int | None = None
    """position of the cycle behind, which made room again; None: none has yet"""

    def has_dropped(self, heard: Heard) -> bool:
        """Whether a signal was among them."""
        has_waited = heard.offset >= self.after_offset or heard.signal.ts_event_ns > self.after_ns
        is_before = self.until is None or heard.offset < self.until
        return has_waited and is_before and heard.age_key >= self.age_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """A slice is complete."""

    slice: int
    is_paced: bool
    is_final: bool
    ts_event_ns: int
    """end of the slice"""
    new: tuple[Heard, ...] | None
    """what is new since the last cycle, sorted as in Cycle.signals; None: no cycle is due"""


@dataclass(slots=True)
class CycleTracker:
    """The cycles of one group; `hear` and `pass_` take the partition's records in its order."""

    universe: str
    sources: tuple[str, ...]
    """whose watermarks complete a slice"""
    interval_ns: int
    """smallest time between two cycles"""
    marks: dict[str, Mark] = field(default_factory=dict)
    last_slice: int = 0
    last_cycle_ns: int = -1
    last_cycle_offset: int = 0
    """position of the watermark that closed the last cycle; what lies before it was taken then"""
    opinions: dict[Key, Heard] = field(default_factory=dict)
    """the latest, as of the last cycle"""
    waiting: dict[str, Heard] = field(default_factory=dict)
    """by signal_id, not taken by a cycle yet"""
    ceilings: tuple[Ceiling, ...] = ()
    """what was dropped, and would be heard again behind a restart"""

    def hear(self, heard: Heard) -> None:
        """A signal; kept until a cycle takes it."""
        if heard.signal.universe != self.universe or self._is_past(heard):
            return
        if self._was_dropped(heard):
            return
        self.waiting.setdefault(heard.signal.signal_id, heard)
        if len(self.waiting) > WAITING_COUNT_MAX:
            self._drop_furthest()

    def pass_(self, watermark: Watermark, offset: int) -> Closing | None:
        """A watermark; the slice that it completes, if it does."""
        if watermark.source not in self.sources or not self._advance(watermark):
            return None
        if len(self.marks) < len(self.sources):
            return None
        slice_ = min(mark.slice for mark in self.marks.values())
        end_ns = min(mark.ts_event_ns for mark in self.marks.values() if mark.slice == slice_)
        if slice_ <= self.last_slice:
            return None
        self.last_slice = slice_
        is_due = self._is_due(end_ns)
        return Closing(
            slice=slice_,
            is_paced=watermark.is_paced,
            is_final=watermark.is_final,
            ts_event_ns=end_ns,
            new=self._take(end_ns, offset) if is_due else None,
        )

    def standing(self) -> tuple[Heard, ...]:
        """Opinions that hold after the last cycle, sorted by (trigger, instrument_id)."""
        return tuple(self.opinions[key] for key in sorted(self.opinions))

    def low_water(self, position: int) -> int:
        """First offset still needed to rebuild what is held at `position`."""
        held = [*self.opinions.values(), *self.waiting.values()]
        return min([position, *(heard.offset for heard in held)])

    def rebuild(self, recorded: Iterable[Heard]) -> None:
        """Takes back signals from `low_water` up to the position of the state, each once."""
        taken: list[Heard] = []
        others: list[Heard] = []
        for heard in recorded:
            is_taken = (
                heard.offset < self.last_cycle_offset
                and heard.signal.ts_event_ns <= self.last_cycle_ns
            )
            if is_taken and heard.signal.universe == self.universe:
                taken.append(heard)
            else:
                others.append(heard)
        self._fold([one for one in taken if not self._was_dropped(one)], self.last_cycle_ns)
        for heard in others:
            self.hear(heard)

    def _is_past(self, heard: Heard) -> bool:
        held = self.opinions.get(heard.key)
        is_older = held is not None and heard.age_key <= held.age_key
        return is_older or heard.end_ns <= self.last_cycle_ns

    def _was_dropped(self, heard: Heard) -> bool:
        return any(ceiling.has_dropped(heard) for ceiling in self.ceilings)

    def _drop_furthest(self) -> None:
        age_key = max(item.age_key for item in self.waiting.values())
        del self.waiting[age_key[1]]
        # Until a cycle makes room, nothing that is as late as this can wait.
        ceiling = Ceiling(
            age_key=age_key, after_ns=self.last_cycle_ns, after_offset=self.last_cycle_offset
        )
        self.ceilings = (*(one for one in self.ceilings if one.until is not None), ceiling)

    def _advance(self, watermark: Watermark) -> bool:
        before = self.marks.get(watermark.source)
        if before is not None and watermark.slice <= before.slice:
            return False
        self.marks[watermark.source] = Mark(
            slice=watermark.slice, ts_event_ns=watermark.ts_event_ns
        )
        return True

    def _is_due(self, end_ns: int) -> bool:
        if self.last_cycle_ns >= 0 and end_ns - self.last_cycle_ns < max(self.interval_ns, 1):
            return False
        has_news = any(heard.signal.ts_event_ns <= end_ns for heard in self.waiting.values())
        return has_news or any(heard.end_ns <= end_ns for heard in self.opinions.values())

    def _take(self, end_ns: int, offset: int) -> tuple[Heard, ...]:
        ready = [item for item in self.waiting.values() if item.signal.ts_event_ns <= end_ns]
        self.last_cycle_ns, self.last_cycle_offset = end_ns, offset
        new = self._fold(ready, end_ns)
        self.waiting = {
            key: item for key, item in self.waiting.items() if item.signal.ts_event_ns > end_ns
        }
        if self.ceilings:
            self._make_room(offset)
        return new

    def _make_room(self, offset: int) -> None:
        """A cycle has taken what was ready; forgets ceilings that nobody will ask about."""
        low = self.low_water(offset)
        closed = [replace(one, until=offset) if one.until is None else one for one in self.ceilings]
        self.ceilings = tuple(one for one in closed if one.until is not None and one.until > low)

    def _fold(self, items: Sequence[Heard], end_ns: int) -> tuple[Heard, ...]:
        """Keeps the latest of each, drops what has ended; returns what is new."""
        changed: dict[Key, Heard] = {}
        for heard in items:
            held = self.opinions.get(heard.key)
            if held is None or heard.age_key > held.age_key:
                self.opinions[heard.key] = changed[heard.key] = heard
        self.opinions = still_holding(self.opinions, end_ns)
        return tuple(sorted(still_holding(changed, end_ns).values(), key=order_of))


def still_holding(opinions: Mapping[Key, Heard], end_ns: int) -> dict[Key, Heard]:
    """Without those whose horizon has ended."""
    return {key: heard for key, heard in opinions.items() if heard.end_ns > end_ns}


def order_of(heard: Heard) -> tuple[int, str, str, str]:
    """How signals of a cycle are sorted."""
    signal = heard.signal
    return signal.ts_event_ns, signal.trigger, signal.instrument_id, signal.signal_id
