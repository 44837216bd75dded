"""The twins through what rarely comes: budgets, drift, unknown orders, live switches, bars, rushes,
decisions from the future and asked twice. See twin_machine.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tapeline.contracts import topics
from tapeline.contracts.accounts import PositionCorrection, VenueDrift
from tapeline.contracts.agents import DecisionKind
from tapeline.contracts.config import Account, Budget, Instrument, Limits
from tapeline.contracts.control import ScopeKind, SetLiveSwitch
from tapeline.contracts.market import Bar, TickOrigin
from tapeline.contracts.orders import Mode, OrderStatus, OrderUpdate, Side
from tapeline.runtime.core import Output

from . import world
from .twin_machine import GROUPS, TRADED, TwinChain

BARS = 22
"""of which an average is known"""
LIMITS = (
    Limits(),
    Limits(duplicate_window_ns=20 * world.SECOND),
    Limits(order_rate_max=3),
    Limits(instrument_cooldown_ns=10 * world.SECOND, group_trades_per_day_max=6),
    Limits(volume_share_max=world.D("0.2")),
)


class WideChain(TwinChain):
    """What a life of a year meets once."""

    def __init__(self, mode: str = "PAPER") -> None:
        super().__init__(mode)
        self.mode = Mode(mode)
        self.updates: list[OrderUpdate] = []
        self.last_bar: Any = None

    def heard(self, outputs: Any) -> None:
        super().heard(outputs)
        found = (one.record for one in outputs)
        self.updates += [one for one in found if isinstance(one, OrderUpdate)]

    def _of_this_world(self, record: Any) -> Any:
        record = super()._of_this_world(record)
        if isinstance(record, Instrument):
            return replace(record, history_interval_ns=world.MINUTE)
        if isinstance(record, Account):
            return replace(record, mode=self.mode)
        return record

    def to_risk(self, record: Any, topic: str) -> list[Output]:
        """What risk alone hears."""
        said = self.risk.take(record, self.now_ns, topic)
        self.heard(said)
        return said

    # ---- configuration

    @rule(value=st.sampled_from((20_000, 400_000)))
    def budget(self, value: int) -> None:
        self.number += 1
        shares = dict.fromkeys(world.ACCOUNTS, world.D("0.5"))
        record = Budget(
            budget_id="firm",
            field="capital_max",
            currency="USD",
            value=world.D(value),
            shares=shares,
            version=self.number,
        )
        self.tell(record)
        self.met["budget"] += 1

    @rule(account_id=st.sampled_from(world.ACCOUNTS), limits=st.sampled_from(LIMITS))
    def limits(self, account_id: str, limits: Limits) -> None:
        self.number += 1
        mandate = world.mandate(account_id, limits=limits, version=self.number + 1)
        self.tell(self._of_this_world(mandate))

    @rule(name=st.sampled_from(TRADED), change=st.sampled_from((-5, 0, 3)))
    def bars(self, name: str, change: int) -> None:
        for _ in range(BARS):
            self.now_ns += world.MINUTE
            price = round(self.prices[name] * (1 + change * (self.number % 3) / 1000), 2)
            self.number += 1
            times = {"ts_event_ns": self.now_ns, "ts_init_ns": self.now_ns}
            prices: dict[str, Any] = dict.fromkeys(("open", "high", "low", "close"), price)
            bar = Bar(
                instrument_id=name,
                feed="sim",
                interval_ns=world.MINUTE,
                ts_open_ns=self.now_ns - world.MINUTE,
                **prices,
                volume=float(100 + self.number % 50),
                tick_count=1,
                late_count=0,
                is_complete=True,
                origin=TickOrigin.SYNTHETIC,
                **times,
            )
            self.to_risk(bar, topics.BARS)
            self.last_bar = bar
        for one in TRADED:
            self._price(one, 0)
        self._price(world.EURUSD, 0)
        self.met["history"] += 1

    # ---- what venues say

    @rule(which=st.integers(0, 8), is_unknown=st.booleans())
    def unknown(self, which: int, is_unknown: bool) -> None:
        """It is not known, or known again, what a venue has made of an order."""
        lives = [one for one in self.updates if not one.is_terminal]
        if not lives:
            return
        status = OrderStatus.UNKNOWN if is_unknown else OrderStatus.ACCEPTED
        record = replace(lives[-1 - which % len(lives)], status=status, command=None)
        self.to_risk(record, topics.ORDER_UPDATES)
        self.met["unknown"] += is_unknown

    @rule(
        account_id=st.sampled_from(world.ACCOUNTS),
        name=st.sampled_from(("", *TRADED)),
        is_open=st.booleans(),
    )
    def drift(self, account_id: str, name: str, is_open: bool) -> None:
        self.number += 1
        record = VenueDrift(
            drift_id=f"drift-{account_id}{name}",
            account_id=account_id,
            venue=world.PAPER,
            subject=f"position/{name}" if name else "cash/USD",
            instrument_id=name,
            ours=world.D(1),
            theirs=world.D(2),
            is_open=is_open,
            reason="walked",
            ts_event_ns=self.now_ns,
            ts_init_ns=self.now_ns,
        )
        self.to_risk(record, topics.ACCOUNT_EVENTS)
        self.met["drift"] += is_open

    @rule(name=st.sampled_from((world.OIL, world.SPY)), quantity=st.integers(-9, 9))
    def correction(self, name: str, quantity: int) -> None:
        """Of an instrument without a mark, too."""
        self.number += 1
        record = PositionCorrection(
            correction_id=f"correction-{self.number}",
            account_id="A",
            group_id="g1",
            instrument_id=name,
            quantity=world.D(quantity),
            price=world.D(f"{world.START_PRICES[name]:.2f}"),
            reason="walked",
            ts_event_ns=self.now_ns,
            ts_init_ns=self.now_ns,
        )
        self.to_risk(record, topics.ACCOUNT_EVENTS)

    @rule(account_id=st.sampled_from(world.ACCOUNTS), is_on=st.booleans())
    def live_switch(self, account_id: str, is_on: bool) -> None:
        place = (ScopeKind.ACCOUNT, account_id)
        self.tell(SetLiveSwitch(**self._signed(place), is_on=is_on))
        self.met["live switch"] += 1

    # ---- decisions

    @rule(
        group_id=st.sampled_from(GROUPS),
        name=st.sampled_from(TRADED),
        ahead_ns=st.sampled_from((0, world.HOUR)),
        is_same=st.booleans(),
    )
    def again(self, group_id: str, name: str, ahead_ns: int, is_same: bool) -> None:
        """The same record once more, or the same order in another decision; perhaps with times
        that have not come."""
        self.number += 1
        times = dict.fromkeys(("cycle_ns", "ts_event_ns", "ts_init_ns"), self.now_ns + ahead_ns)
        first = world.decision(
            world.GROUPS[group_id],
            group_id,
            name,
            decision_id=f"d{self.number}",
            index=self.number,
            kind=DecisionKind.ORDER,
            side=Side.BUY,
            quantity=world.D(3),
            **times,
        )
        self.number += 1
        other = replace(first, decision_id=f"d{self.number}", index=self.number)
        for record in (first, first if is_same else other):
            self.to_risk(record, topics.DECISIONS)
        self.met["from the future" if ahead_ns else "asked twice"] += 1

    @rule(group_id=st.sampled_from(GROUPS), count=st.integers(4, 9))
    def rush(self, group_id: str, count: int) -> None:
        for _ in range(count):
            self.ask(group_id, world.SPY, target_weight=world.D("0.05"))
        self.met["rush"] += bool(self.risk.state.rushes)
