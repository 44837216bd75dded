"""Without Kafka a trip cancels at venues all the same: what it covers, once, nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from execution_samples import (
    RUN,
    SECOND,
    account,
    approved,
    bracket,
    instrument,
    limit,
    outside,
    trade,
    updates,
    venue,
)

from tapeline.contracts.control import LocalTrip, ScopeKind, SwitchLevel
from tapeline.contracts.orders import (
    CommandKind,
    Mode,
    ReportKind,
    VenueCommand,
    VenueReport,
)
from tapeline.execution.intents.errors import IntentsAway
from tapeline.execution.intents.store import Intent, IntentState
from tapeline.execution.intents.sweeps import Swept
from tapeline.execution.outside import trip_sweep
from tapeline.execution.outside.last_check import World
from tapeline.execution.outside.links import Link
from tapeline.execution.outside.trip_sweep import Surroundings, TripSweep
from tapeline.runtime import clock
from tapeline.runtime.core import Input

CONFIGURATION = (account(mode=Mode.LIVE), instrument(), venue(adapter="elsewhere"))


def known() -> World:
    found = World()
    for record in CONFIGURATION:
        found = found.after(Input(record=record, topic="config"), RUN)
    return found


@dataclass
class Adapter:
    """A venue that cancels, or answers what it is told to."""

    answers: list[Sequence[ReportKind] | Exception] = field(default_factory=list)
    asked: list[VenueCommand] = field(default_factory=list)

    async def cancel(self, command: VenueCommand) -> Sequence[VenueReport]:
        self.asked.append(command)
        answer = self.answers.pop(0) if self.answers else (ReportKind.CANCELED,)
        if isinstance(answer, Exception):
            raise answer
        return [self.report(command, kind) for kind in answer]

    def report(self, command: VenueCommand, kind: ReportKind) -> VenueReport:
        return VenueReport(
            report_id="r",
            account_id="a1",
            venue="PAPER",
            kind=kind,
            client_order_id=command.client_order_id,
            venue_order_id="",
            trade_id="",
            currency="",
            reason="",
            ts_event_ns=1,
            ts_init_ns=1,
        )

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the sweep must not {name}")

    @property
    def names(self) -> list[str]:
        return sorted(command.client_order_id for command in self.asked)


@dataclass
class Store:
    """What PostgreSQL keeps; `is_away` makes it refuse."""

    intents: list[Intent] = field(default_factory=list)
    records: dict[str, Any] = field(default_factory=dict)
    rows: dict[tuple[str, str], Swept] = field(default_factory=dict)
    is_away: bool = False

    def _there(self) -> None:
        if self.is_away:
            raise IntentsAway("away", "wait")

    def remember(self, records: Mapping[str, Any]) -> None:
        self._there()
        self.records.update(records)

    def recall(self) -> list[Any]:
        self._there()
        return list(self.records.values())

    def not_ended(self, shard: int) -> list[Intent]:
        self._there()
        return self.intents if shard == 0 else []

    def note(self, swept: Sequence[Swept]) -> None:
        self._there()
        self.rows.update({(one.trip_id, one.command_id): one for one in swept})

    def swept(self, shards: Sequence[int]) -> list[Swept]:
        self._there()
        return list(self.rows.values())

    def told(self, swept: Sequence[Swept]) -> None:
        self._there()
        for one in swept:
            self.rows[one.trip_id, one.command_id] = replace(one, is_told=True)


@dataclass
class Scene:
    """A process with a pulled switch; Kafka is away unless `is_heard`."""

    trips: list[LocalTrip]
    store: Store = field(default_factory=Store)
    adapter: Adapter = field(default_factory=Adapter)
    world: World | None = None
    tracked: list[tuple[int, Intent]] = field(default_factory=list)
    age_s: float = 60.0
    is_heard: bool = False
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.link = Link(venue(adapter="elsewhere", requests_per_s=1000), self.adapter)  # type: ignore[arg-type]
        self.sweep = self.made()

    def made(self) -> TripSweep:
        return TripSweep(
            run_id=RUN,
            shards=(0, 1),
            skew_ns=SECOND,
            store=self.store,
            around=Surroundings(
                trips=lambda: self.trips,
                age_s=lambda _trip: self.age_s,
                world=lambda: self.world,
                tracked=lambda: self.tracked,
                link=lambda _world, _venue: self.link,
                tell=self._tell,
            ),
        )

    def _tell(self, code: str, reason: str) -> bool:
        self.said += [f"{code} {reason}"] * self.is_heard
        return self.is_heard

    def turns(self, count: int = 3) -> None:
        async def run() -> None:
            for _ in range(count):
                try:
                    await self.sweep.turn()
                except IntentsAway:
                    assert self.store.is_away
                for _ in range(5):
                    await asyncio.sleep(0)

        asyncio.run(run())


def trip(level: SwitchLevel = SwitchLevel.CANCEL_ALL, **changes: Any) -> LocalTrip:
    plain = LocalTrip(
        trip_id="t1",
        origin="file halt",
        scope=ScopeKind.ALL,
        scope_id="",
        level=level,
        spares_protective=True,
        reason="test",
        sequence=5,
        expires_ns=2**62,
    )
    return replace(plain, **changes)


def intent(
    name: str, state: IntentState = IntentState.ANSWERED, now_ns: int | None = None, **changes: Any
) -> Intent:
    """An order that was sent."""
    driver = outside()
    driver.now_ns = driver.now_ns if now_ns is None else now_ns
    driver.beat()
    record = approved(limit(name, "90", **changes), now_ns=driver.now_ns)
    command = updates(driver.step(record))[0].command
    assert command is not None
    command = replace(command, command_id=f"command-{name}")
    return Intent(command=command, state=state, epoch=1, written_ns=1)


def scene(*trips: LocalTrip, intents: Sequence[Intent] = (), **changes: Any) -> Scene:
    store = Store(intents=list(intents), records={str(n): r for n, r in enumerate(CONFIGURATION)})
    return Scene(trips=list(trips), store=store, **changes)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trip_sweep, "AGAIN_S", 0.0)
    monkeypatch.setattr(trip_sweep, "TELL_S", 0.0)


ORDERS = (
    intent("o1"),
    intent("o2", group_id="g2"),
    intent("o3", is_reduce_only=True),
)


@pytest.mark.parametrize(
    ("pulled", "names"),
    [
        (trip(), ["o1", "o2"]),
        (trip(spares_protective=False), ["o1", "o2", "o3"]),
        (trip(SwitchLevel.FLATTEN), ["o1", "o2", "o3"]),
        (trip(SwitchLevel.STOP_ENTRIES), []),
        (trip(scope=ScopeKind.GROUP, scope_id="g2"), ["o2"]),
        (trip(scope=ScopeKind.ACCOUNT, scope_id="a1"), ["o1", "o2"]),
        (trip(scope=ScopeKind.ACCOUNT, scope_id="a2"), []),
        (trip(scope=ScopeKind.INSTRUMENT, scope_id="SPY.ARCA"), ["o1", "o2"]),
        (trip(scope=ScopeKind.VENUE, scope_id="ELSEWHERE"), []),
    ],
)
def test_what_a_trip_covers_is_canceled_once(pulled: LocalTrip, names: list[str]) -> None:
    found = scene(pulled, intents=ORDERS)
    found.turns()
    assert found.adapter.names == names
    for command in found.adapter.asked:
        assert command.kind is CommandKind.CANCEL
        assert command.command_id != f"command-{command.client_order_id}"


def test_the_usual_way_has_a_moment() -> None:
    found = scene(trip(), intents=ORDERS, age_s=trip_sweep.AFTER_S - 0.01)
    found.turns()
    assert not found.adapter.asked
    found.age_s = trip_sweep.AFTER_S
    found.turns()
    assert found.adapter.names == ["o1", "o2"]


def test_without_a_trip_nothing_is_asked() -> None:
    found = scene(intents=ORDERS)
    found.turns()
    assert not found.adapter.asked


def test_a_protective_leg_is_an_order_that_only_reduces() -> None:
    driver = outside()
    driver.step(bracket(limit("o1", "90"), "110", "80"))
    report = Adapter().report(updates(driver.outputs)[0].command, ReportKind.FILLED)  # type: ignore[arg-type]
    quantity = limit().quantity
    driver.step(replace(report, trade_id="1", quantity=quantity, price=quantity, currency="USD"))
    driver.step(trade(driver.now_ns, 100.0))
    sent = [one.command for one in updates(driver.outputs) if one.command is not None]
    legs = [
        Intent(command=command, state=IntentState.ANSWERED, epoch=1, written_ns=1)
        for command in sent
        if command.child_index
    ]
    assert len(legs) == 2
    for pulled, count in ((trip(), 0), (trip(SwitchLevel.FLATTEN), 2)):
        found = scene(pulled, intents=legs)
        found.turns()
        assert len(found.adapter.asked) == count


def test_a_second_process_does_not_ask_again() -> None:
    found = scene(trip(), intents=ORDERS)
    found.turns()
    asked = len(found.adapter.asked)
    found.sweep = found.made()
    found.turns()
    assert len(found.adapter.asked) == asked
    found.trips.append(trip(trip_id="t2"))
    found.turns()
    assert len(found.adapter.asked) == 2 * asked


@pytest.mark.parametrize(
    "silence", [(ReportKind.TIMEOUT,), ConnectionError("refused"), KeyError("no such venue")]
)
def test_a_venue_that_does_not_answer_is_asked_again(silence: Any) -> None:
    found = scene(trip(), intents=[intent("o1")])
    found.adapter.answers = [silence, silence]
    found.turns(5)
    assert found.adapter.names == ["o1"] * 3
    assert [one.answer for one in found.store.rows.values()] == ["CANCELED"]


@pytest.mark.parametrize(
    ("answer", "noted"),
    [
        ((), "ASKED"),
        ((ReportKind.CANCEL_REJECTED,), "CANCEL_REJECTED"),
        ((ReportKind.FILLED, ReportKind.CANCELED), "CANCELED"),
    ],
)
def test_what_the_venue_said_is_noted(answer: Any, noted: str) -> None:
    found = scene(trip(), intents=[intent("o1")])
    found.adapter.answers = [answer]
    found.turns()
    assert [one.answer for one in found.store.rows.values()] == [noted]


@pytest.mark.parametrize(
    ("state", "age_ns", "count"),
    [
        (IntentState.OPEN, 0, 3),
        (IntentState.OPEN, 3600 * SECOND, 1),
        (IntentState.ANSWERED, 0, 1),
    ],
)
def test_an_order_on_its_way_is_asked_after_until_it_cannot_arrive(
    state: IntentState, age_ns: int, count: int
) -> None:
    found = scene(trip(), intents=[intent("o1", state, clock.wall_ns() - age_ns)])
    found.adapter.answers = [(ReportKind.CANCEL_REJECTED,)] * 2
    found.turns(5)
    assert len(found.adapter.asked) == count


def test_without_the_database_what_the_sender_knows_is_canceled() -> None:
    tracked = [(0, one) for one in ORDERS]
    found = scene(trip(), tracked=tracked, world=known())
    found.store.is_away = True
    found.turns()
    assert found.adapter.names == ["o1", "o2"]
    found.store.is_away = False
    found.turns()
    assert {one.client_order_id for one in found.store.rows.values()} == {"o1", "o2"}


def test_what_both_know_is_canceled_once() -> None:
    found = scene(trip(), intents=ORDERS, tracked=[(0, one) for one in ORDERS], world=known())
    found.turns()
    assert found.adapter.names == ["o1", "o2"]


def test_with_neither_kafka_nor_the_database_nothing_is_known() -> None:
    found = scene(trip(), intents=ORDERS)
    found.store.is_away = True
    found.turns()
    assert not found.adapter.asked


def test_the_configuration_is_kept_for_a_start_without_kafka() -> None:
    found = scene(world=known())
    found.store.records = {}
    found.turns(1)
    assert sorted(found.store.records) == ["accounts/a1", "instruments/SPY.ARCA", "venues/PAPER"]
    kept = dict(found.store.records)
    found.store.records = {}
    found.turns(2)
    assert not found.store.records
    newer = replace(venue(adapter="elsewhere"), version=2)
    found.world = known().after(Input(record=newer, topic="config"), RUN)
    found.turns(1)
    assert found.store.records == {"venues/PAPER": newer}
    assert len(kept) == 3


def test_what_was_done_is_told_once_when_kafka_is_there() -> None:
    found = scene(trip(), intents=ORDERS)
    found.adapter.answers = [(ReportKind.CANCELED,), (ReportKind.CANCEL_REJECTED,)]
    found.turns()
    assert not found.said
    found.sweep = found.made()
    found.is_heard = True
    found.turns()
    [said] = found.said
    assert said.startswith("SWITCH_CANCELED_ALONE For trip t1")
    assert "o1 CANCELED, o2 CANCEL_REJECTED" in said
    assert all(one.is_told for one in found.store.rows.values())
    found.sweep = found.made()
    found.turns()
    assert len(found.said) == 1


def test_what_carries_a_known_flatten_out_is_spared() -> None:
    closing = intent("o1", is_reduce_only=True)
    decision_id = closing.command.approved.approval.decision_id
    pulled = trip(SwitchLevel.FLATTEN, trip_id=decision_id)
    found = scene(pulled, intents=[closing])
    found.turns()
    assert not found.adapter.asked
