"""A valuation that is kept line by line is the one that is made from nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from risk_samples import (
    ACCOUNT,
    EURUSD,
    EWG,
    GROUP,
    NOW,
    SPY,
    correction,
    desk,
    fill_of,
    fx,
    group,
    instrument,
    mandate,
    mark,
    order,
    update_of,
)

from tapeline.accounting.numbers import exact
from tapeline.contracts.accounts import CashAdjustment, CorporateAction
from tapeline.contracts.config import Instrument
from tapeline.contracts.market import MarkPrice
from tapeline.contracts.orders import ApprovedOrder, Side
from tapeline.risk.appraisal import Appraiser, worth_of

D = Decimal
ABROAD = instrument(EWG, currency="EUR")
WIDE = mandate(
    position_weight_max=D(9),
    gross_exposure_max=D(9),
    leverage_max=D(9),
    cash_reserve_min=D(-9),
    daily_loss_max=D(9),
    drawdown_max=D(9),
    price_collar=D(1),
    allows_short=True,
)
NAMES, GROUPS = st.sampled_from((SPY, EWG)), st.sampled_from((GROUP, "other"))
QUANTITIES = st.integers(-60, 60).filter(bool)
STEPS = st.one_of(
    st.tuples(st.just("mark"), st.sampled_from((SPY, EWG, EURUSD)), st.integers(90, 110)),
    st.tuples(st.just("hold"), NAMES, GROUPS, QUANTITIES),
    st.tuples(st.just("order"), NAMES, GROUPS, QUANTITIES, st.booleans()),
    st.tuples(st.just("fill"), st.integers(0, 9), st.integers(1, 100)),
    st.tuples(st.just("end"), st.integers(0, 9)),
    st.tuples(st.just("deposit"), st.sampled_from(("USD", "EUR")), st.integers(-99, 99)),
    st.tuples(st.just("split"), NAMES, st.sampled_from((D(2), D("0.5")))),
    st.tuples(st.just("multiply"), NAMES, st.integers(1, 3)),
    st.tuples(st.just("restart")),
)

KINDS = {"mark", "hold", "order", "fill", "end", "deposit", "split", "multiply", "restart"}


class Play:
    """Plays steps, beside one who values the account after each of them."""

    def __init__(self) -> None:
        self.desk = desk(ABROAD, WIDE, group(), marks=[])
        self.desk.tell(fx(), group("other"))
        self.appraiser = Appraiser()
        self.open: list[ApprovedOrder] = []
        self.count = 1
        self.seen: Counter[str] = Counter()

    def step(self, step: tuple[Any, ...]) -> None:
        self.count += 1
        getattr(self, step[0])(*step[1:])
        self.compare(step[0])

    @exact
    def compare(self, name: str) -> None:
        state = self.desk.state
        account = state.accounts[ACCOUNT]
        kept, fresh = self.appraiser.worth(state, account), worth_of(state, account)
        assert kept == fresh
        # To the same places too: a figure goes into records as it is.
        assert fresh is None or str(replace(kept, worst_gross={})) == str(
            replace(fresh, worst_gross={})
        )
        self.seen[f"{name} {'unknown' if fresh is None else 'known'}"] += 1

    def mark(self, instrument_id: str, price: int) -> None:
        value = price / 100 if instrument_id == EURUSD else float(price)
        said: MarkPrice = mark(instrument_id, value, NOW + self.count)
        self.desk.tell(said)

    def hold(self, instrument_id: str, group_id: str, quantity: int) -> None:
        self.desk.tell(correction(str(quantity), "100", group_id, instrument_id))

    def order(self, instrument_id: str, group_id: str, quantity: int, is_limit: bool) -> None:
        asked = order(
            Side.BUY if quantity > 0 else Side.SELL,
            str(abs(quantity)),
            instrument_id=instrument_id,
            group_id=group_id,
            index=self.count,
        )
        if is_limit:
            asked = replace(asked, order_type=asked.order_type.LIMIT, limit_price=D(101))
        said = self.desk.tell(asked)
        self.open += [record for record in said if isinstance(record, ApprovedOrder)]

    def fill(self, number: int, percent: int) -> None:
        if self.open:
            approved = self.open[number % len(self.open)]
            quantity = max(approved.order.quantity * percent // 100, D(1))
            self.desk.tell(fill_of(approved, quantity, D(100), self.count))

    def end(self, number: int) -> None:
        if self.open:
            self.desk.tell(update_of(self.open.pop(number % len(self.open))))

    def deposit(self, currency: str, amount: int) -> None:
        self.desk.tell(
            CashAdjustment(
                adjustment_id=f"a-{self.count}",
                account_id=ACCOUNT,
                currency=currency,
                amount=D(amount),
                reason="deposit",
                ts_event_ns=NOW,
                ts_init_ns=NOW,
            )
        )

    def split(self, instrument_id: str, ratio: Decimal) -> None:
        self.desk.tell(
            CorporateAction(
                action_id=f"s-{self.count}",
                account_id=ACCOUNT,
                instrument_id=instrument_id,
                split_ratio=ratio,
                dividend=D(0),
                currency="USD",
                ts_event_ns=NOW,
                ts_init_ns=NOW,
            )
        )

    def multiply(self, instrument_id: str, multiplier: int) -> None:
        known: Instrument = self.desk.state.instruments[instrument_id]
        version = known.version + 1
        self.desk.tell(replace(known, multiplier=D(multiplier), version=version))

    def restart(self) -> None:
        self.desk.state = self.desk.core.load(self.desk.core.dump(self.desk.state))


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_a_kept_valuation_is_a_fresh_one_after_any_sequence(steps: list[tuple[Any, ...]]) -> None:
    play = Play()
    for step in steps:
        play.step(step)


def test_the_sequences_reach_what_a_valuation_is_made_of() -> None:
    play = Play()
    for step in (
        ("hold", EWG, GROUP, 30),
        ("mark", EWG, 100),
        ("mark", EURUSD, 105),
        ("mark", SPY, 100),
        ("order", SPY, "other", 20, True),
        ("order", EWG, GROUP, -40, False),
        ("fill", 0, 50),
        ("fill", 1, 100),
        ("end", 0),
        ("end", 0),
        ("deposit", "EUR", 50),
        ("mark", EURUSD, 104),
        ("split", EWG, D(2)),
        ("multiply", EWG, 2),
        ("restart",),
        ("mark", EWG, 99),
        ("hold", EWG, GROUP, 20),
    ):
        play.step(step)
    assert len(play.desk.state.fill_prices) == 2
    assert play.seen["hold unknown"] == 1, "an instrument abroad without its rate has no value"
    assert play.seen.total() - play.seen["hold unknown"] - play.seen["mark unknown"] == 15
    assert {name.partition(" ")[0] for name in play.seen if name.endswith(" known")} == KINDS


def test_a_valuation_is_kept_while_nothing_changes() -> None:
    play = Play()
    for step in (("mark", SPY, 100), ("hold", SPY, GROUP, 30)):
        play.step(step)
    state = play.desk.state
    account = state.accounts[ACCOUNT]
    known = play.appraiser.worth(state, account)
    assert known is not None
    assert play.appraiser.worth(state, account) is known


@exact
def test_what_is_gone_counts_no_longer() -> None:
    play = Play()
    for step in (("mark", SPY, 100), ("order", SPY, GROUP, 30, False), ("end", 0)):
        play.step(step)
    assert not play.desk.state.accounts[ACCOUNT].reserves
    for step in (("hold", SPY, GROUP, 30), ("order", SPY, GROUP, 5, False)):
        play.step(step)
    account = play.desk.state.accounts[ACCOUNT]
    bare = replace(account, ledger=replace(account.ledger, lines={}))
    assert play.appraiser.worth(play.desk.state, bare) == worth_of(play.desk.state, bare)
    assert play.appraiser.worth(play.desk.state, bare) != worth_of(play.desk.state, account)
