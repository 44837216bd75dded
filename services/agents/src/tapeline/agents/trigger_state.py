"""How the triggers stage keeps its states on the topic trigger-state, and takes them back.

One record a (trigger, instrument) holds its state; one more an input partition, the marker, says up
to which input offset they are all complete. It is written behind them, on the same partition, so
who finds it finds them. A record is sent one batch after the inputs it covers, so what is kept is
never ahead of the committed offset: outputs are suppressed below that, and nothing between would
ever be sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from tapeline.agents.analysis import Standing, Watch, dump, load
from tapeline.contracts import topics
from tapeline.contracts.agents import TriggerState
from tapeline.runtime.core import Input, Output
from tapeline.runtime.ids import derive_id

Key = tuple[str, str]
"""trigger, and instrument_id or macro series"""


class Marker(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of an input partition as a whole."""

    last_slice: int
    """the last slice whose watermark was passed on"""
    session_ns: int
    """end of that slice"""


AT_START: Final = Marker(last_slice=0, session_ns=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An input partition."""

    topic: str
    partition: int

    @property
    def name(self) -> str:
        """As in the sources of watermarks, such as bars/0."""
        return f"{self.topic}/{self.partition}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What was kept of an input partition."""

    next_offset: int = 0
    """where stepping starts again"""
    marker: Marker = AT_START
    standings: dict[Key, Standing] = field(default_factory=dict)


def records_of(
    place: Place,
    next_offset: int,
    marker: Marker,
    changed: Iterable[tuple[Key, Watch, Standing]],
    run_id: str,
) -> tuple[Output, ...]:
    """Records of the states that have changed since the last ones, the marker behind them."""
    bodies = [(key, dump(watch, standing)) for key, watch, standing in changed]
    bodies.append((("", f"@{place.name}"), msgspec.json.encode(marker)))
    return tuple(
        Output(
            topic=topics.TRIGGER_STATE,
            key=f"{trigger}/{subject}",
            record=TriggerState(
                trigger=trigger,
                instrument_id=subject,
                state=body,
                topic=place.topic,
                partition=place.partition,
                next_offset=next_offset,
                ts_init_ns=marker.session_ns,
            ),
            event_id=derive_id(
                run_id, f"trigger/{trigger}", f"{place.name}/{next_offset}/{subject}", "State"
            ),
        )
        for (trigger, subject), body in bodies
    )


def restored(
    place: Place, committed: int, kept: Sequence[Input], watches: Iterable[Watch]
) -> Restored:
    """The states of a partition; from the beginning where they cannot be relied upon.

    A state that lies ahead of the marker is fine: it skips the readings it has seen.
    """
    newest: dict[Key, TriggerState] = {}
    for event in kept:
        record = event.record
        if not isinstance(record, TriggerState):
            continue
        if (record.topic, record.partition) == (place.topic, place.partition):
            key = (record.trigger, record.instrument_id)
            if key not in newest or record.next_offset >= newest[key].next_offset:
                newest[key] = record
    marker = newest.pop(("", f"@{place.name}"), None)
    is_ahead = any(record.next_offset > committed for record in newest.values())
    if marker is None or marker.next_offset > committed or is_ahead:
        return Restored()
    by_name = {watch.config.trigger: watch for watch in watches}
    standings = {
        key: standing
        for key, record in newest.items()
        if key[0] in by_name and (standing := load(by_name[key[0]], record.state)) is not None
    }
    return Restored(
        next_offset=marker.next_offset,
        marker=msgspec.json.decode(marker.state, type=Marker),
        standings=standings,
    )
