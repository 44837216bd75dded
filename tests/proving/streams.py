"""Judges derived streams against those of an undisturbed run: by id and by bytes.

A derived stream may say a thing again after a crash, in the same bytes; it may not leave one out or
say it in another way. What follows downstream must not show the repeats.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from proving.reading import Seen
from tapeline.contracts.system import Watermark
from tapeline.runtime.codec import digest_body
from tapeline.runtime.ids import content_id


@dataclass(slots=True)
class Contents:
    """What a topic says: the first bytes of each id."""

    bodies: dict[str, bytes] = field(default_factory=dict)
    repeated: int = 0
    """ids met again with the same bytes"""
    changed: int = 0
    """ids met again with other bytes"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamDamage:
    """What is wrong with one topic."""

    topic: str
    lost: int
    """ids of the undisturbed run that are missing"""
    invented: int
    """ids that the undisturbed run does not have"""
    changed: int
    """ids with other bytes"""
    repeated: int
    """ids met again with the same bytes: allowed upstream, not downstream"""
    count: int
    """ids of the undisturbed run"""

    @property
    def is_none(self) -> bool:
        """Nothing lost, invented or changed; repeats do not matter."""
        return not (self.lost or self.invented or self.changed)

    def __str__(self) -> str:
        return (
            f"{self.topic}: {self.count} ids, {self.lost} lost, {self.invented} invented, "
            f"{self.changed} changed, {self.repeated} repeated"
        )


def identity_of(seen: Seen) -> str:
    """Id of a record; of bulk records that of their content."""
    return seen.event_id or content_id(seen.record.content_key())


def contents_of(seen: Iterable[Seen]) -> Contents:
    """Ids and bytes of a topic, watermarks left out."""
    found = Contents()
    for item in seen:
        if isinstance(item.record, Watermark):
            continue
        name, body = identity_of(item), digest_body(item.record)
        if name not in found.bodies:
            found.bodies[name] = body
        elif found.bodies[name] == body:
            found.repeated += 1
        else:
            found.changed += 1
    return found


def compare(topic: str, seen: Iterable[Seen], undisturbed: Iterable[Seen]) -> StreamDamage:
    """One topic of a run against the same topic of the undisturbed one."""
    found, wanted = contents_of(seen), contents_of(undisturbed)
    changed = sum(
        found.bodies[name] != body for name, body in wanted.bodies.items() if name in found.bodies
    )
    return StreamDamage(
        topic=topic,
        lost=len(wanted.bodies.keys() - found.bodies.keys()),
        invented=len(found.bodies.keys() - wanted.bodies.keys()),
        changed=changed + found.changed,
        repeated=found.repeated,
        count=len(wanted.bodies),
    )


def silences(found: Mapping[str, Sequence[Seen]]) -> dict[str, float]:
    """topic-partition -> longest time between two appends, seconds, by the broker's clock."""
    times: dict[str, list[int]] = {}
    for topic, seen in found.items():
        for item in seen:
            times.setdefault(f"{topic}-{item.partition}", []).append(item.append_ms)
    return {
        place: max((later - earlier for earlier, later in pairwise(sorted(at))), default=0) / 1000
        for place, at in times.items()
    }
