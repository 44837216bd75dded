"""How a group's stage keeps what it has asked for on the topic group-state, and takes it back.

Targets and positions are kept; the opinions are not: they are read again from signals, from
`low_water` on, which is part of the state. A state is sent after the outputs that it contains are
acknowledged, so one that is ahead of the committed offset says that they are out.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import msgspec

from tapeline.agents.cycles import Ceiling, CycleTracker, Mark
from tapeline.agents.group import instance_of
from tapeline.contracts import topics
from tapeline.contracts.agents import GroupState
from tapeline.runtime.core import Input, Output
from tapeline.runtime.ids import derive_id


class GroupStanding(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a group."""

    low_water: int = 0
    """first input offset that its opinions need"""
    last_slice: int = 0
    last_cycle_ns: int = -1
    last_cycle_offset: int = 0
    marks: dict[str, Mark] = {}
    """how far each source has come"""
    ceilings: tuple[Ceiling, ...] = ()
    """what was dropped of the signals that are read again"""
    targets: dict[str, Decimal] = {}
    """target weight last asked for, by instrument"""


AT_START: Final = GroupStanding()


def standing_of(
    tracker: CycleTracker, targets: dict[str, Decimal], next_offset: int
) -> GroupStanding:
    """What is to be kept when everything below `next_offset` has been stepped."""
    return GroupStanding(
        low_water=tracker.low_water(next_offset),
        last_slice=tracker.last_slice,
        last_cycle_ns=tracker.last_cycle_ns,
        last_cycle_offset=tracker.last_cycle_offset,
        marks=dict(tracker.marks),
        ceilings=tracker.ceilings,
        targets=dict(targets),
    )


def apply(standing: GroupStanding, tracker: CycleTracker) -> None:
    """Sets a new tracker to where it stood; the opinions come by `CycleTracker.rebuild`."""
    tracker.last_slice = standing.last_slice
    tracker.last_cycle_ns = standing.last_cycle_ns
    tracker.last_cycle_offset = standing.last_cycle_offset
    tracker.ceilings = standing.ceilings
    tracker.marks = {
        source: mark for source, mark in standing.marks.items() if source in tracker.sources
    }


def record_of(
    group_id: str, partition: int, next_offset: int, standing: GroupStanding, run_id: str
) -> Output:
    """The record that keeps it."""
    return Output(
        topic=topics.GROUP_STATE,
        key=group_id,
        record=GroupState(
            group_id=group_id,
            state=msgspec.json.encode(standing, order="deterministic"),
            topic=topics.SIGNALS,
            partition=partition,
            next_offset=next_offset,
            ts_init_ns=max(standing.last_cycle_ns, 0),
        ),
        event_id=derive_id(run_id, instance_of(group_id), str(next_offset), "State"),
    )


def restored(group_id: str, partition: int, kept: Sequence[Input]) -> tuple[int, GroupStanding]:
    """(next_offset, standing) of the newest state; without one, the beginning."""
    found: GroupState | None = None
    for event in kept:
        record = event.record
        if not isinstance(record, GroupState) or record.group_id != group_id:
            continue
        if (record.topic, record.partition) == (topics.SIGNALS, partition):
            found = record
    if found is None:
        return 0, AT_START
    return found.next_offset, msgspec.json.decode(found.state, type=GroupStanding)
