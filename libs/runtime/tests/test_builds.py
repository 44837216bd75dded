"""Two builds never share the money path: who is alive, who is later, who leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from tapeline.contracts.system import Heartbeat
from tapeline.runtime import builds, clock
from tapeline.runtime.builds import PLACE, MixedBuilds, Peers, schema_set
from tapeline.runtime.codec import encode
from tapeline.runtime.log import Raw, TopicPartition

OURS = Heartbeat(
    service="execution",
    shard=0,
    build_id="1.0",
    lag=0,
    ts_event_ns=1,
    ts_init_ns=1,
    schema_set=schema_set(),
    started_ns=100,
)
OLD = replace(OURS, service="risk", build_id="0.9", started_ns=50)


def raw(beat: Heartbeat, age_s: float = 0.0, offset: int = 0) -> Raw:
    append_ms = int(clock.wall_ns() / 1e6 - age_s * 1000)
    return Raw(
        topic=PLACE[0], partition=0, offset=offset, append_ms=append_ms, key=b"", value=encode(beat)
    )


class Beats:
    """A heartbeats topic: what is there, and what comes while somebody listens."""

    def __init__(self, there: list[Raw], coming: list[Raw] | None = None) -> None:
        self.there = there
        self.coming = coming or []
        self.looks = 0

    def starts(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {PLACE: 0}

    def ends(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        self.looks += 1
        if self.looks > 2 and self.coming:
            self.there.append(self.coming.pop(0))
        return {PLACE: len(self.there)}

    def read(
        self, ranges: Mapping[TopicPartition, tuple[int, int]]
    ) -> dict[TopicPartition, list[Raw]]:
        start, end = ranges[PLACE]
        return {PLACE: self.there[start:end]}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builds, "SILENT_S", 0.3)
    monkeypatch.setattr(builds, "PAUSE_S", 0.01)


@pytest.mark.parametrize(
    "theirs",
    [
        replace(OURS, service="risk", build_id="0.9"),
        replace(OURS, service="risk", schema_set="other"),
        replace(OURS, build_id="0.9"),
        replace(OURS, service="risk", build_id="0.9", schema_set="", started_ns=0),
    ],
    ids=["build", "schemas", "own shard", "build that tells neither schemas nor start"],
)
def test_a_start_beside_a_living_process_of_another_build_is_refused(theirs: Heartbeat) -> None:
    beats = Beats([raw(theirs)], coming=[raw(theirs)])
    with pytest.raises(MixedBuilds, match=r"execution/0 is build 1\.0"):
        Peers(OURS).refuse_to_mix(beats)  # type: ignore[arg-type]  # a fake of two methods


def test_a_start_after_the_other_build_has_ended_goes_on() -> None:
    Peers(OURS).refuse_to_mix(Beats([raw(OLD)]))  # type: ignore[arg-type]  # a fake


def test_a_start_does_not_wait_for_builds_that_ended_long_ago() -> None:
    beats = Beats([raw(OLD, age_s=60.0)])
    Peers(OURS).refuse_to_mix(beats)  # type: ignore[arg-type]  # a fake
    assert beats.looks == 1


@pytest.mark.parametrize(
    "theirs",
    [
        replace(OURS, service="risk"),
        replace(OURS, service="bars", shard=-1, build_id="0.9", schema_set=""),
    ],
    ids=["same build", "not of the money path"],
)
def test_others_do_not_keep_a_start_waiting(theirs: Heartbeat) -> None:
    beats = Beats([raw(theirs)], coming=[raw(theirs)])
    Peers(OURS).refuse_to_mix(beats)  # type: ignore[arg-type]  # a fake
    assert beats.looks == 1


def test_of_two_that_started_together_the_later_one_leaves() -> None:
    with pytest.raises(MixedBuilds):
        Peers(OURS).check([raw(OLD)])
    Peers(OLD).check([raw(OURS)])


def test_whoever_started_at_the_same_instant_is_told_apart_by_name() -> None:
    twin = replace(OLD, started_ns=OURS.started_ns)
    Peers(OURS).check([raw(twin)])
    with pytest.raises(MixedBuilds):
        Peers(twin).check([raw(OURS)])


def test_a_build_that_does_not_say_when_it_started_is_taken_for_the_earlier_one() -> None:
    with pytest.raises(MixedBuilds):
        Peers(OURS).check([raw(replace(OLD, schema_set="", started_ns=0))])


def test_what_is_no_heartbeat_is_no_peer() -> None:
    Peers(OURS).check([replace(raw(OLD), value=b"garbage")])
