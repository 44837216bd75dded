"""A build and a limit change between a crash and the recovery: nothing is decided anew.

Both services of the money path die in the midst of a run. Before they are started again, as another
build, a tighter mandate is put on `config`. What was answered before stays as it was, each decision
has one answer, and only what is decided afterwards follows the new limit.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

import pytest
from proving.books import last_states
from proving.disturbing import DisturbedSession
from proving.oracle import JUDGED, counted, examine
from proving.playing import Finished, Ground, Progress, play, replayed
from proving.reading import Seen, committed

from tapeline.cli.configuration import Configuration
from tapeline.cli.publishing import publish
from tapeline.cli.session import Session
from tapeline.contracts import topics
from tapeline.contracts.config import Mandate
from tapeline.runtime.codec import digest_body

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.chaos]
SEED = os.environ.get("TAPELINE_TEST_CHAOS_SEED", "")
SERVICES = ("risk", "execution")
OTHER_BUILD = "another-build"
ANSWERED = (topics.APPROVED_ORDERS, topics.RISK_EVENTS)
TIGHTER = Decimal("0.01")
Tell = Callable[[str], None]


@dataclass
class Change:
    """Kills both at a slice; then a tighter mandate, another build, and both again."""

    at_slice: int
    answered: dict[str, int] = field(default_factory=dict)
    """topic -> records that were committed when both were dead"""
    is_done: bool = False
    _is_struck: bool = False

    def __call__(self, session: Session, progress: Progress) -> bool:
        """Called while the run plays."""
        assert isinstance(session, DisturbedSession)
        if not self._is_struck and progress.slice >= self.at_slice:
            session.left_alone.update(SERVICES)
            for name in SERVICES:
                child = session.child(name)
                assert child is not None
                os.kill(child.pid, signal.SIGKILL)
            self._is_struck = True
        elif not self.is_done and all(name in session.ended for name in SERVICES):
            self._change(session)
            self.is_done = True
        return self.is_done

    def _change(self, session: DisturbedSession) -> None:
        assert session.stack.endpoints is not None
        settings = session.kafka_settings(session.stack.endpoints)
        found = asyncio.run(committed(settings, ANSWERED))
        self.answered = {topic: len(seen) for topic, seen in found.items()}
        tightened = [
            replace(mandate, position_weight_max=TIGHTER, version=mandate.version + 1)
            for mandate in session.configuration.of(Mandate)
        ]
        whole = session.configuration
        changed = Configuration(name=whole.name, records=tuple(tightened), settings=whole.settings)
        publish(settings, session.run.run_id, changed)
        for name in SERVICES:
            part = session.parts[name]
            environment = {**part.environment, "TAPELINE_BUILD_ID": OTHER_BUILD}
            session.start_part(replace(part, environment=environment))


def bodies(seen: Sequence[Seen]) -> dict[str, bytes]:
    """event id -> bytes, without the codes that differ from key to key."""
    return {item.event_id: digest_body(item.record) for item in seen if item.event_id}


def test_a_change_between_crash_and_recovery_decides_nothing_anew(
    undisturbed: Finished, ground: Ground, tell: Tell
) -> None:
    seed = int(SEED) if SEED else random.SystemRandom().randrange(10**6)
    change = Change(at_slice=random.Random(seed).randint(30, 60))
    run = replayed(
        play(ground, "changed", make_session=DisturbedSession, meanwhile=change, limit_s=600.0)
    )
    assert run.replay is not None
    assert run.replay.differences == ()
    found = asyncio.run(committed(run.settings, JUDGED))
    damage = examine(found, last_states(run).held_open)
    kept = told_before(found, change.answered)
    wanted = asyncio.run(committed(undisturbed.settings, ANSWERED))
    as_undisturbed = bodies([item for seen in wanted.values() for item in seen])
    differing = [name for name, body in kept.items() if as_undisturbed.get(name) != body]
    tell(
        f"changed between crash and recovery: TAPELINE_TEST_CHAOS_SEED={seed}: killed at slice "
        f"{change.at_slice}, {len(kept)} answers before, {len(differing)} of them changed; "
        f"{counted(found)}: {damage}"
    )
    assert kept
    assert differing == []
    assert damage.is_none, str(damage)
    # The change has come through, or all this would show nothing.
    assert run.digests != undisturbed.digests
    assert {item.record.build_id for item in journal(run)[topics.JOURNAL]} >= {OTHER_BUILD}


def told_before(
    found: Mapping[str, Sequence[Seen]], answered: Mapping[str, int]
) -> dict[str, bytes]:
    """What was committed before the change: the first records of each topic by append time."""
    kept: dict[str, bytes] = {}
    for topic, count in answered.items():
        seen = sorted(found[topic], key=lambda item: (item.append_ms, item.partition, item.offset))
        kept.update(bodies(seen[:count]))
    return kept


def journal(run: Finished) -> dict[str, list[Seen]]:
    """The journals of all shards."""
    return asyncio.run(committed(run.settings, (topics.JOURNAL,)))
