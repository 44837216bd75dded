"""How the triggers stage keeps its states on the topic trigger-state, and takes them back.

One record a (trigger, instrument) holds its state; one more an input partition, the marker, says up
to which input offset that partition was stepped. All of a partition are written at once, the marker
last, after the outputs they contain are acknowledged. What is found may still be of two writings
(the process died between, or one that had lost the partition wrote late), so stepping starts again
at the oldest position of all; a state that is further skips the readings it has seen.
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
    standings: Iterable[tuple[Watch, str, Standing]],
    run_id: str,
) -> tuple[Output, ...]:
    """Records of all states of a partition, the marker behind them."""
    bodies = [
        ((watch.config.trigger, subject), dump(watch, standing))
        for watch, subject, standing in standings
    ]
    bodies.append((_marker_key(place), msgspec.json.encode(marker)))
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


def restored(place: Place, kept: Sequence[Input], watches: Iterable[Watch]) -> Restored:
    """The states of a partition; from the beginning without a marker."""
    found = {
        (event.record.trigger, event.record.instrument_id): event.record
        for event in kept
        if isinstance(event.record, TriggerState)
        and (event.record.topic, event.record.partition) == (place.topic, place.partition)
    }
    marker = found.pop(_marker_key(place), None)
    if marker is None:
        return Restored()
    by_name = {watch.config.trigger: watch for watch in watches}
    start = marker.next_offset
    standings: dict[Key, Standing] = {}
    for key, record in found.items():
        standing = load(by_name[key[0]], record.state) if key[0] in by_name else None
        if standing is not None:
            standings[key] = standing
            start = min(start, record.next_offset)
    return Restored(
        next_offset=start,
        marker=msgspec.json.decode(marker.state, type=Marker),
        standings=standings,
    )


def _marker_key(place: Place) -> Key:
    return "", f"@{place.name}"
