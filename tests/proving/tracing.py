"""What a disturbed run must leave on its topics: what the undisturbed one left, nothing else."""

from __future__ import annotations

import asyncio

from proving.books import at_risk, at_the_venue, folded, in_postgres, last_states
from proving.oracle import JUDGED, Counts, Damage, counted, examine, of
from proving.playing import PRESET, Finished
from proving.reading import committed
from tapeline.cli.configuration import load_configuration
from tapeline.contracts import topics
from tapeline.contracts.config import Account
from tapeline.contracts.orders import Fill


def assert_no_trace(run: Finished, undisturbed: Finished) -> tuple[Counts, Damage]:
    """Nothing lost, nothing doubled, four equal books, and the bytes of the undisturbed run."""
    assert run.replay is not None
    assert run.replay.differences == ()
    found = asyncio.run(committed(run.settings, JUDGED))
    states = last_states(run)
    damage = examine(found, states.held_open)
    assert damage.is_none, str(damage)
    accounts = load_configuration(PRESET).of(Account)
    expected = folded((item.record for item in of(found[topics.FILLS], Fill)), accounts)
    assert in_postgres(run, accounts) == expected
    assert at_the_venue(states) == expected
    assert at_risk(states) == expected
    assert run.digests == undisturbed.digests
    return counted(found), damage
