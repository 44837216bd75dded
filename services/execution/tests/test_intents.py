"""Intents in PostgreSQL: one row a send, one owner a shard, and no more rights than needed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import count

import psycopg
import pytest
from execution_samples import account, approved, limit, order, outside, updates, venue
from sqlalchemy import make_url

from tapeline.contracts.orders import CommandKind, VenueCommand
from tapeline.execution.intents.errors import IntentsAway, SenderReplaced
from tapeline.execution.intents.migrate import migrate
from tapeline.execution.intents.store import IntentState, IntentStore, Page
from tapeline.execution.intents.sweeps import SweepStore, Swept

pytestmark = pytest.mark.postgres
RUNS = count()


@pytest.fixture(scope="module")
def urls(postgres_url: str) -> Iterator[tuple[str, str]]:
    """The owner's URL of a database of its own, and the service's."""
    name = f"intents_test_{os.getpid()}"
    role = f"{name}_app"
    plain = make_url(postgres_url).set(drivername="postgresql")
    owner = plain.render_as_string(hide_password=False)
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    url = plain.set(database=name).render_as_string(hide_password=False)
    yield url, migrate(url, app_role=role)
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        connection.execute(f"DROP ROLE {role}")


@pytest.fixture
def store(urls: tuple[str, str]) -> Iterator[IntentStore]:
    """The intents of a run of the test's own."""
    made = IntentStore(urls[1], f"run-{next(RUNS)}")
    yield made
    made.close()


def sent(name: str = "o1") -> VenueCommand:
    """An order as the core commands it."""
    command = updates(outside().step(approved(limit(name, "90"))))[0].command
    assert command is not None
    return replace(command, command_id=f"command-{name}")


def page(*commands: VenueCommand, behind: int = 10, ended: tuple[str, ...] = ()) -> Page:
    return Page(
        commands=commands,
        ended=[(name, f"approval-{name}") for name in ended],
        next_offset=behind,
    )


def test_an_intent_is_written_once(store: IntentStore) -> None:
    owner = (0, store.claim(0).epoch)
    command = sent()
    assert store.write(owner, page(command), 1) == {"command-o1"}
    assert store.write(owner, page(command, behind=11), 1) == frozenset()
    [kept] = store.not_ended(0)
    assert (kept.command, kept.state) == (command, IntentState.OPEN)


def test_an_approval_sends_a_child_once_whatever_the_commands_id(store: IntentStore) -> None:
    owner = (0, store.claim(0).epoch)
    store.write(owner, page(sent()), 1)
    again = replace(sent(), command_id="another")
    assert store.write(owner, page(again), 1) == frozenset()
    # A cancel may stand on the approval of its order.
    cancel = replace(sent(), command_id="cancel", kind=CommandKind.CANCEL)
    assert store.write(owner, page(cancel), 1) == {"cancel"}
    other = replace(sent(), command_id="child-1", child_index=1)
    assert store.write(owner, page(other), 1) == {"child-1"}


def test_who_was_replaced_writes_nothing(store: IntentStore) -> None:
    first = store.claim(0)
    second = store.claim(0)
    assert second.epoch == first.epoch + 1
    with pytest.raises(SenderReplaced):
        store.write((0, first.epoch), page(sent()), 1)
    with pytest.raises(SenderReplaced):
        store.require(0, first.epoch)
    assert store.not_ended(0) == []
    assert store.write((0, second.epoch), page(sent()), 1) == {"command-o1"}


def test_position_and_count_move_with_the_rows(store: IntentStore) -> None:
    owner = (0, store.claim(0).epoch)
    store.write(owner, page(sent("o1"), sent("o2"), behind=7), 1)
    store.write(owner, page(sent("o2"), behind=9, ended=("o1",)), 1)
    found = store.claim(0)
    assert (found.next_offset, found.intent_count, found.found_count) == (9, 2, 2)
    assert [one.command.client_order_id for one in store.not_ended(0)] == ["o2"]
    assert store.claim(1).next_offset == 0


def test_what_has_ended_stays_so(store: IntentStore) -> None:
    owner = (0, store.claim(0).epoch)
    store.write(owner, page(sent(), ended=("o1",)), 1)
    store.settle("command-o1", IntentState.ANSWERED)
    assert store.not_ended(0) == []


def test_an_end_under_another_approval_is_not_the_orders(store: IntentStore) -> None:
    owner = (0, store.claim(0).epoch)
    refused = Page(ended=[("o1", "cancel-o1")], next_offset=11)
    store.write(owner, page(sent()), 1)
    store.write(owner, refused, 1)
    assert len(store.not_ended(0)) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM execution.intent",
        "TRUNCATE execution.intent",
        "UPDATE execution.intent SET command = ''",
        "UPDATE execution.intent SET approval_id = 'x'",
        "DELETE FROM execution.sender",
        "DROP TABLE execution.intent",
        "UPDATE execution.swept SET answer = 'CANCELED'",
        "DELETE FROM execution.configuration",
    ],
)
def test_the_service_can_only_add_and_move_states(urls: tuple[str, str], statement: str) -> None:
    plain = make_url(urls[1]).set(drivername="postgresql")
    with (
        psycopg.connect(plain.render_as_string(hide_password=False)) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement)


def test_migrating_again_changes_nothing(urls: tuple[str, str]) -> None:
    role = make_url(urls[1]).username
    assert role is not None
    password = make_url(urls[1]).password
    assert password is not None
    assert migrate(urls[0], app_role=role, app_password=str(password)) == urls[1]


def test_a_database_that_is_away_is_told_apart() -> None:
    gone = IntentStore("postgresql://nobody:nothing@127.0.0.1:9/none", "run")
    with pytest.raises(IntentsAway):
        gone.claim(0)


def test_an_order_is_read_back_as_it_was_written(store: IntentStore) -> None:
    owner = (0, store.claim(0).epoch)
    record = approved(order("o9", quantity=limit("x").quantity))
    command = updates(outside().step(record))[0].command
    assert command is not None
    store.write(owner, page(command), 1)
    assert store.not_ended(0)[0].command == command


def test_what_the_switch_canceled_is_kept_until_it_is_told(urls: tuple[str, str]) -> None:
    store = SweepStore(urls[1], f"run-{next(RUNS)}")
    swept = [
        Swept(
            trip_id="t1",
            command_id=f"command-{number}",
            shard=number % 2,
            client_order_id=f"o{number}",
            answer="CANCELED",
            swept_ns=number,
        )
        for number in range(3)
    ]
    store.note(swept)
    store.note([replace(swept[0], answer="ASKED")])
    assert store.swept((0, 1)) == swept
    assert store.swept((1,)) == swept[1:2]
    store.told(swept[:2])
    assert [one.is_told for one in store.swept((0, 1))] == [True, True, False]
    store.close()


def test_the_configuration_of_venues_is_kept_as_it_was_last(urls: tuple[str, str]) -> None:
    store = SweepStore(urls[1], f"run-{next(RUNS)}")
    store.remember({"venues/PAPER": venue(), "accounts/a1": account()})
    store.remember({"venues/PAPER": venue(version=2)})
    store.remember({})
    assert store.recall() == [account(), venue(version=2)]
    other = SweepStore(urls[1], "another-run")
    assert other.recall() == []
    store.close()
    other.close()
