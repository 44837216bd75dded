"""Whatever happens in whatever order, what risk promises holds."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from risk_samples import (
    ACCOUNT,
    CONTEXT,
    EWG,
    GROUP,
    NOW,
    SECOND,
    SPY,
    Desk,
    decision,
    desk,
    fill_of,
    group,
    mandate,
    mark,
    switch,
    update_of,
)

from tapeline.accounting.exposure import Unit, valuation
from tapeline.accounting.numbers import exact
from tapeline.contracts.agents import Decision, DecisionKind
from tapeline.contracts.config import Limits
from tapeline.contracts.orders import ApprovedOrder, OrderAction, OrderStatus, OrderType, Side
from tapeline.contracts.risk import Denial, TradingState
from tapeline.risk.appraisal import worth_of
from tapeline.risk.core import RiskCore
from tapeline.runtime.core import Input

D = Decimal
INSTRUMENTS, GROUPS = (SPY, EWG), (GROUP, "other", "MANUAL")
MANDATE = mandate(
    position_weight_max=D("0.4"),
    gross_exposure_max=D("0.7"),
    leverage_max=D("0.75"),
    limits=Limits(
        sector_weight_max=D("0.65"),
        net_exposure_max=D("0.5"),
        buying_power_max=D("0.68"),
        capital_max=D(66_000),
        open_orders_max=6,
        order_notional_max=D(72_000),
    ),
)

WEIGHTS = st.decimals(min_value=D("-0.5"), max_value=D("0.9"), places=3)
QUANTITIES = st.decimals(min_value=D("0.1"), max_value=D(700), places=1)
PRICES = st.integers(80, 125)
STEPS = st.one_of(
    st.tuples(st.just("target"), st.sampled_from(GROUPS), st.sampled_from(INSTRUMENTS), WEIGHTS),
    st.tuples(
        st.just("order"),
        st.sampled_from(GROUPS),
        st.sampled_from(INSTRUMENTS),
        st.sampled_from(Side),
        QUANTITIES,
        st.one_of(st.none(), PRICES),
        st.booleans(),
    ),
    st.tuples(st.just("fill"), st.integers(0, 9), st.integers(1, 100), PRICES),
    st.tuples(st.just("end"), st.integers(0, 9), st.booleans()),
    st.tuples(st.just("cancel"), st.integers(0, 9)),
    st.tuples(st.just("unknown"), st.integers(0, 9), st.booleans()),
    st.tuples(st.just("mark"), st.sampled_from(INSTRUMENTS), PRICES),
    st.tuples(st.just("switch"), st.sampled_from(TradingState)),
    st.tuples(st.just("wait"), st.integers(1, 40)),
    st.tuples(st.just("repeat")),
)


class Play:
    """Plays steps against the core, keeping its own simple books beside it."""

    def __init__(self, allows_short: bool) -> None:
        self.desk: Desk = desk(
            replace(MANDATE, allows_short=allows_short),
            group(),
            marks=[mark(), mark(EWG)],
        )
        self.desk.tell(group("other"))
        self.cash = D(100_000)
        self.held: dict[tuple[str, str], Decimal] = {}
        self.open: list[tuple[ApprovedOrder, Decimal]] = []
        """approvals that have not ended, with what is left of each"""
        self.marks = {SPY: D(100), EWG: D(100)}
        self.index = 0
        self.switches = 0
        self.last: Decision | None = None

    def step(self, step: tuple[Any, ...]) -> None:
        getattr(self, step[0])(*step[1:])

    # ---- steps

    def target(self, group_id: str, instrument_id: str, weight: Decimal) -> None:
        self.ask(group_id, instrument_id, target_weight=weight)

    def order(
        self,
        group_id: str,
        instrument_id: str,
        side: Side,
        quantity: Decimal,
        limit: int | None,
        is_reduce_only: bool,
    ) -> None:
        self.ask(
            group_id,
            instrument_id,
            kind=DecisionKind.ORDER,
            target_weight=None,
            side=side,
            quantity=quantity,
            order_type=OrderType.MARKET if limit is None else OrderType.LIMIT,
            limit_price=None if limit is None else D(limit),
            is_reduce_only=is_reduce_only,
        )

    def ask(self, group_id: str, instrument_id: str, **changes: Any) -> None:
        self.index += 1
        asked = decision(
            group_id=group_id,
            instrument_id=instrument_id,
            index=self.index,
            cycle_ns=self.desk.now_ns,
            ts_event_ns=self.desk.now_ns,
            **changes,
        )
        said = [
            record for record in self.desk.tell(asked) if isinstance(record, ApprovedOrder | Denial)
        ]
        assert len(said) == 1, "every decision is answered exactly once"
        self.last = asked
        if isinstance(said[0], ApprovedOrder):
            self.check_approval(asked, said[0])

    def repeat(self) -> None:
        if self.last is not None:
            assert self.desk.tell(self.last) == []

    def fill(self, number: int, percent: int, price: int) -> None:
        if not self.open:
            return
        number %= len(self.open)
        approved, left = self.open[number]
        quantity = (left * percent / 100).quantize(D(1))
        if not quantity:
            return
        self.desk.tell(fill_of(approved, quantity, D(price)))
        signed = quantity if approved.order.side is Side.BUY else -quantity
        place = (approved.order.group_id, approved.order.instrument_id)
        self.held[place] = self.held.get(place, D(0)) + signed
        self.cash -= signed * price
        self.open[number] = (approved, left - quantity)

    def end(self, number: int, is_early: bool) -> None:
        """An order ends; sometimes its terminal update comes before its last fill."""
        if not self.open:
            return
        approved, left = self.open[number % len(self.open)]
        filled = approved.order.quantity - left
        if is_early and left:
            self.desk.tell(update_of(approved, OrderStatus.CANCELED, filled + 1))
            self.open[number % len(self.open)] = (approved, D(1))
            self.check_books()
            self.fill(number, 100, 100)
        else:
            self.desk.tell(update_of(approved, OrderStatus.CANCELED, filled))
        del self.open[number % len(self.open)]

    def cancel(self, number: int) -> None:
        if not self.open:
            return
        approved, left = self.open[number % len(self.open)]
        self.index += 1
        (said,) = self.desk.tell(
            decision(
                kind=DecisionKind.CANCEL,
                group_id=approved.order.group_id,
                client_order_id=approved.order.client_order_id,
                index=self.index,
                cycle_ns=self.desk.now_ns,
                ts_event_ns=self.desk.now_ns,
            )
        )
        assert isinstance(said, ApprovedOrder) == (left > 0)

    def unknown(self, number: int, is_unknown: bool) -> None:
        """An order's fate is not known at the venue, or is again; it stays reserved."""
        if not self.open:
            return
        approved, left = self.open[number % len(self.open)]
        status = OrderStatus.UNKNOWN if is_unknown else OrderStatus.ACCEPTED
        filled = approved.order.quantity - left
        self.desk.tell(update_of(approved, status, filled, is_terminal=False))

    def mark(self, instrument_id: str, price: int) -> None:
        self.desk.tell(mark(instrument_id, float(price), self.desk.now_ns))
        self.marks[instrument_id] = D(price)

    def switch(self, state: TradingState) -> None:
        self.switches += 1
        self.desk.tell(switch(state, self.switches))

    def wait(self, count: int) -> None:
        self.desk.now_ns += count * SECOND
        self.desk.fire()

    # ---- what must hold

    def net(self, instrument_id: str) -> Decimal:
        return sum(
            (quantity for (_, name), quantity in self.held.items() if name == instrument_id), D(0)
        )

    def left(self, instrument_id: str, side: Side) -> Decimal:
        return sum(
            (
                left
                for approved, left in self.open
                if (approved.order.instrument_id, approved.order.side) == (instrument_id, side)
            ),
            D(0),
        )

    def nav(self) -> Decimal:
        return self.cash + sum((self.net(name) * self.marks[name] for name in INSTRUMENTS), D(0))

    @exact
    def check_approval(self, asked: Decision, approved: ApprovedOrder) -> None:
        order = approved.order
        state = self.desk.state.trading_states.get("ALL/", TradingState.ACTIVE)
        assert state is not TradingState.HALTED
        assert order.quantity > 0
        assert order.quantity % 1 == 0
        if asked.quantity is not None:
            assert order.quantity <= asked.quantity
        held = self.held.get((order.group_id, order.instrument_id), D(0))
        against = -held if order.side is Side.BUY else held
        is_entry = order.quantity > max(against, D(0))
        self.open.append((approved, order.quantity))
        if is_entry or approved.action in (OrderAction.OPEN, OrderAction.FLIP):
            assert state is TradingState.ACTIVE
            self.check_limits(order.instrument_id, order.side)
        if asked.is_reduce_only:
            assert not is_entry

    def check_limits(self, instrument_id: str, side: Side) -> None:
        nav, limits = self.nav(), self.desk.state.mandates[ACCOUNT]
        sign = 1 if side is Side.BUY else -1
        own = self.net(instrument_id) * sign + self.left(instrument_id, side)
        assert own * self.marks[instrument_id] <= limits.position_weight_max * nav
        worst = sum(
            (
                max(
                    abs(self.net(name) + self.left(name, Side.BUY)),
                    abs(self.net(name) - self.left(name, Side.SELL)),
                )
                * self.marks[name]
                for name in INSTRUMENTS
            ),
            D(0),
        )
        assert worst <= limits.gross_exposure_max * nav
        lines = sum((abs(held) * self.marks[name] for (_, name), held in self.held.items()), D(0))
        assert lines <= limits.leverage_max * nav
        self.check_further_limits(instrument_id, sign, worst, nav)
        if not limits.allows_short:
            # Without shorts what is free is cash less what open purchases may cost.
            cost = sum(
                (
                    left * max(approved.order.arrival_price, approved.order.limit_price or D(0))
                    for approved, left in self.open
                    if approved.order.side is Side.BUY
                ),
                D(0),
            )
            assert self.cash - cost >= limits.cash_reserve_min * nav

    def check_further_limits(
        self, instrument_id: str, sign: int, worst: Decimal, nav: Decimal
    ) -> None:
        further = MANDATE.limits
        assert further is not None
        assert worst <= (further.sector_weight_max or D(0)) * nav
        side = Side.BUY if sign > 0 else Side.SELL
        net = sum(
            (
                (self.net(name) * sign + self.left(name, side)) * self.marks[name]
                for name in INSTRUMENTS
            ),
            D(0),
        )
        assert net <= (further.net_exposure_max or D(0)) * nav
        held = sum((abs(self.net(name)) * self.marks[name] for name in INSTRUMENTS), D(0))
        reserves = self.desk.state.accounts[ACCOUNT].reserves.values()
        on_order = sum((line.opening_cost for lines in reserves for line in lines.values()), D(0))
        assert held + on_order <= (further.capital_max or D(0))
        assert held + on_order <= (further.buying_power_max or D(0)) * nav
        assert len(self.open) <= (further.open_orders_max or 0)
        approved, _ = self.open[-1]
        price = max(self.marks[instrument_id], approved.order.limit_price or D(0))
        if approved.action is OrderAction.OPEN:
            assert approved.order.quantity * price <= (further.order_notional_max or D(0))

    @exact
    def check_books(self) -> None:
        state = self.desk.state
        account = state.accounts[ACCOUNT]
        assert account.ledger.cash["USD"] == self.cash
        for (group_id, instrument_id), held in self.held.items():
            assert account.ledger.line(group_id, instrument_id).quantity == held
        units = {name: Unit(price=self.marks[name]) for name in INSTRUMENTS}
        agreed, found = valuation(account.ledger, units, {"USD": D(1)}), worth_of(state, account)
        assert found is not None
        assert (found.cash, found.nav) == (agreed.cash, agreed.nav) == (self.cash, self.nav())
        assert (found.gross, found.net) == (agreed.gross, agreed.net)
        assert found.gross_of_lines == agreed.gross_of_lines
        for name in INSTRUMENTS:
            lines = account.reserves.get(name, {}).values()
            assert sum((line.buying for line in lines), D(0)) == self.left(name, Side.BUY)
            assert sum((line.selling for line in lines), D(0)) == self.left(name, Side.SELL)
            for line in lines:
                assert D(0) <= line.opening_buying <= line.buying
                assert D(0) <= line.opening_selling <= line.selling

    def check_storage(self) -> None:
        core, state = self.desk.core, self.desk.state
        data = core.dump(state)
        assert core.load(data) == state
        assert core.dump(core.load(data)) == data

    def check_recovery(self) -> None:
        """Evolving over inputs and recorded outputs alone gives the same state."""
        core = RiskCore(CONTEXT)
        state = core.initial()
        for event, outputs in self.desk.history:
            state = core.evolve(state, event)
            for output in outputs:
                state = core.evolve(state, output)
        assert core.dump(state) == core.dump(self.desk.state)

    def check_replay(self) -> None:
        """Deciding again says the same, and deciding changes nothing."""
        core = RiskCore(CONTEXT)
        state = core.initial()
        for event, outputs in self.desk.history:
            before = core.dump(state)
            again = core.decide(state, event)
            assert core.dump(state) == before
            assert [(one.topic, one.key, one.event_id, one.record) for one in again] == [
                (one.topic, one.key, one.event_id, one.record) for one in outputs
            ]
            state = core.evolve(state, event)
            for output in outputs:
                state = core.evolve(state, output)

    def check_way_out(self) -> None:
        """Every line can be closed, all of it, unless trading is halted."""
        core, now_ns = self.desk.core, self.desk.now_ns + 3600 * SECOND
        scope_states = self.desk.state.trading_states.values()
        if TradingState.HALTED in scope_states:
            return
        for (group_id, instrument_id), held in self.held.items():
            side = Side.SELL if held > 0 else Side.BUY
            state = core.load(core.dump(self.desk.state))
            reserve = state.accounts[ACCOUNT].reserve(group_id, instrument_id)
            left = abs(held) - reserve.closing(side)
            if left <= 0:
                continue
            asked = decision(
                group_id=group_id,
                instrument_id=instrument_id,
                kind=DecisionKind.ORDER,
                target_weight=None,
                side=side,
                quantity=left,
                confidence=0.0,
                cycle_ns=now_ns,
                ts_event_ns=now_ns,
            )
            event = Input(record=asked, topic="decisions", event_id="x", session_ns=now_ns)
            (said,) = core.decide(state, event)
            assert isinstance(said.record, ApprovedOrder)
            assert said.record.order.quantity == left


@settings(max_examples=120, deadline=None)
@given(st.booleans(), st.lists(STEPS, max_size=40))
def test_the_promises_hold_over_any_sequence(
    allows_short: bool, steps: list[tuple[Any, ...]]
) -> None:
    play = Play(allows_short)
    for step in steps:
        play.step(step)
        play.check_books()
    play.check_way_out()
    play.check_storage()
    play.check_recovery()
    play.check_replay()


def test_the_sequences_reach_what_they_are_about() -> None:
    play = Play(True)
    for step in (
        ("target", GROUP, SPY, D("0.3")),
        ("fill", 0, 100, 100),
        ("end", 0, False),
        ("target", GROUP, SPY, D("-0.2")),
        ("fill", 0, 50, 101),
        ("end", 0, True),
        ("order", "other", EWG, Side.BUY, D(700), 101, False),
        ("cancel", 0),
        ("wait", 20),
        ("unknown", 0, True),
        ("unknown", 0, False),
        ("switch", TradingState.REDUCING),
        ("repeat",),
    ):
        play.step(step)
        play.check_books()
    actions = {
        one.record.action
        for _, outputs in play.desk.history
        for one in outputs
        if isinstance(one.record, ApprovedOrder)
    }
    assert actions == {OrderAction.OPEN, OrderAction.FLIP, OrderAction.CANCEL}
    play.check_way_out()
    play.check_recovery()
    assert play.desk.now_ns > NOW
