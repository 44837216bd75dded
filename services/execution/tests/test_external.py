"""External venues in the core: what never left, what was undone, what differs, who may trade."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from execution_samples import (
    RUN,
    SECOND,
    T0,
    Driver,
    account,
    approved,
    cancel,
    dec,
    incidents,
    instrument,
    limit,
    live_switch,
    order,
    outside,
    says,
    updates,
)

from tapeline.contracts import topics
from tapeline.contracts.accounts import FundingPayment
from tapeline.contracts.control import AcceptVenueTruth, ScopeKind
from tapeline.contracts.orders import (
    Mode,
    NotSent,
    OrderAction,
    ReportKind,
    Side,
    TradeBust,
    VenueBalance,
    VenueEntry,
    VenueOpenOrder,
    VenuePosition,
    VenueReport,
    VenueStatement,
)

UNKNOWN = VenueReport(
    report_id="r-timeout",
    account_id="a1",
    venue="PAPER",
    kind=ReportKind.TIMEOUT,
    client_order_id="o1",
    venue_order_id="",
    trade_id="",
    currency="",
    reason="no answer",
    ts_event_ns=T0,
    ts_init_ns=T0,
)


def fill(trade_id: str, quantity: str, price: str = "100", **changes: Any) -> VenueReport:
    said = replace(
        UNKNOWN,
        report_id=f"r-{trade_id}",
        kind=ReportKind.FILLED,
        venue_order_id="v1",
        trade_id=trade_id,
        price=dec(price),
        quantity=dec(quantity),
        commission=dec("0.5"),
        currency="USD",
    )
    return replace(said, **changes)


def not_sent(code: str = "EXECUTION_EXPIRED") -> NotSent:
    return NotSent(
        report_id="n1",
        account_id="a1",
        venue="PAPER",
        client_order_id="o1",
        command_id="c1",
        code=code,
        reason="too late",
        ts_event_ns=T0,
        ts_init_ns=T0,
    )


def bust(trade_id: str, quantity: str, price: str = "100") -> TradeBust:
    return TradeBust(
        report_id=f"b-{trade_id}",
        account_id="a1",
        venue="PAPER",
        client_order_id="o1",
        trade_id=trade_id,
        price=dec(price),
        quantity=dec(quantity),
        commission=dec("0.5"),
        currency="USD",
        reason="error trade",
        ts_event_ns=T0,
        ts_init_ns=T0,
    )


def statement(
    held: str = "0",
    cash: str = "100000",
    *,
    open_orders: tuple[str, ...] = (),
    entries: tuple[VenueEntry, ...] = (),
) -> VenueStatement:
    position = VenuePosition(instrument_id="SPY.ARCA", quantity=dec(held), price=dec(101))
    return VenueStatement(
        statement_id="s",
        account_id="a1",
        venue="PAPER",
        positions=(position,) if dec(held) else (),
        balances=(VenueBalance(currency="USD", amount=dec(cash)),),
        open_orders=tuple(
            VenueOpenOrder(
                client_order_id=name,
                venue_order_id=f"v-{name}",
                instrument_id="SPY.ARCA",
                quantity=dec(10),
                filled_quantity=dec(0),
            )
            for name in open_orders
        ),
        entries=entries,
        ts_event_ns=T0,
        ts_init_ns=T0,
    )


def entry(kind: str, amount: str, **changes: Any) -> VenueEntry:
    plain = VenueEntry(
        entry_id=f"{kind}-1",
        kind=kind,
        instrument_id="",
        currency="USD",
        amount=dec(amount),
        ts_event_ns=T0,
    )
    return replace(plain, **changes)


def accept(*drift_ids: str, sequence: int = 1, **changes: Any) -> AcceptVenueTruth:
    plain = AcceptVenueTruth(
        command_id="k1",
        scope=ScopeKind.ACCOUNT,
        scope_id="a1",
        drift_ids=drift_ids,
        expires_ns=T0 + 3600 * SECOND,
        sequence=sequence,
        operator="op",
        reason="looked at it",
        issued_ns=T0,
        run_id=RUN,
        key_id="op",
        signature=b"s",
    )
    return replace(plain, **changes)


def sent(mode: Mode = Mode.LIVE) -> Driver:
    driver = outside(mode)
    driver.step(approved(order()))
    return driver


def step_all(driver: Driver, *records: Any) -> list[str]:
    lines: list[str] = []
    for record in records:
        lines += says(driver.step(record))
    assert driver.dumped() == driver.core.dump(driver.recovered())
    assert driver.core.dump(driver.core.load(driver.dumped())) == driver.dumped()
    return lines


def reply(driver: Driver, name: str = "o2", **changes: Any) -> str:
    """What an approval for a further order is answered with."""
    action = changes.pop("action", OrderAction.OPEN)
    said = driver.step(approved(order(name, **changes), now_ns=driver.now_ns, action=action))
    return updates(said)[0].code or updates(said)[0].status.value


# ---- what never left


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], ["approval-o1 DENIED EXECUTION_EXPIRED end"]),
        ([UNKNOWN], ["approval-o1 UNKNOWN", "approval-o1 DENIED EXECUTION_EXPIRED end"]),
        (
            [cancel(order())],
            [
                "cancel-o1 PENDING_CANCEL CANCEL",
                "approval-o1 DENIED EXECUTION_EXPIRED end",
                "cancel-o1 DENIED end",
            ],
        ),
    ],
)
def test_what_never_left_is_denied(before: list[Any], after: list[str]) -> None:
    assert step_all(sent(), *before, not_sent(), not_sent()) == after


@pytest.mark.parametrize(
    "spoken",
    [
        [replace(UNKNOWN, kind=ReportKind.ACCEPTED)],
        [fill("t1", "4")],
        [fill("t1", "4"), UNKNOWN],
    ],
)
def test_what_the_venue_has_spoken_of_cannot_have_stayed_here(spoken: list[VenueReport]) -> None:
    driver = sent()
    before = step_all(driver, *spoken)
    assert step_all(driver, not_sent()) == ["incident VENUE_REPORTS_UNEXPECTED"], before
    assert "o1" in driver.state.orders


def test_a_fill_behind_not_sent_is_booked_all_the_same() -> None:
    said = step_all(sent(), UNKNOWN, not_sent(), fill("t1", "10"))
    assert said[-2:] == ["incident VENUE_REPORTS_LATE_FILL", "fill 10 @ 100 taker"]


def test_a_late_fill_finds_its_order_an_hour_later_but_not_a_day() -> None:
    driver = sent()
    step_all(driver, fill("t1", "4"), replace(UNKNOWN, kind=ReportKind.CANCELED))
    driver.at(T0 + 3590 * SECOND)
    assert step_all(driver, fill("t2", "1"))[-1] == "fill 1 @ 100 taker"
    driver.at(T0 + 2 * 3600 * SECOND)
    assert step_all(driver, fill("t3", "1")) == ["incident VENUE_REPORTS_UNKNOWN_ORDER"]


# ---- who may trade


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([], "SUBMITTED"),
        ([live_switch(False, 2)], "EXECUTION_LIVE_NOT_PERMITTED"),
        ([live_switch(False, 2), live_switch(True, 3)], "SUBMITTED"),
        # A record that was sent before cannot switch on again.
        ([live_switch(False, 2), live_switch(True, 1)], "EXECUTION_LIVE_NOT_PERMITTED"),
        (
            [live_switch(False, 2), live_switch(True, 3, scope_id="a2")],
            "EXECUTION_LIVE_NOT_PERMITTED",
        ),
        ([live_switch(False, 2), live_switch(True, 3, run_id="x")], "EXECUTION_LIVE_NOT_PERMITTED"),
        ([account(mode=Mode.PAPER, version=2)], "EXECUTION_LIVE_NOT_PERMITTED"),
    ],
)
def test_live_needs_the_accounts_own_switch(records: list[Any], expected: str) -> None:
    driver = outside()
    step_all(driver, *records)
    assert reply(driver) == expected


def test_an_account_that_was_never_switched_on_may_not_trade_live() -> None:
    driver = outside()
    driver.step(account(account_id="a2", mode=Mode.LIVE))
    said = driver.step(approved(order(account_id="a2"), account_id="a2"))
    assert updates(said)[0].code == "EXECUTION_LIVE_NOT_PERMITTED"


def test_a_switch_that_nobody_signed_switches_nothing() -> None:
    driver = outside()
    driver.step(live_switch(False, 2))
    assert says(driver.step(live_switch(True, 3), verdict="UNSIGNED")) == [
        "incident CONTROL_UNSIGNED"
    ]
    assert reply(driver) == "EXECUTION_LIVE_NOT_PERMITTED"


def test_shadow_needs_no_switch() -> None:
    driver = outside(Mode.SHADOW)
    driver.step(live_switch(False, 2))
    assert reply(driver) == "SUBMITTED"


def test_a_paced_run_does_not_reach_a_venue_with_a_clock_of_its_own() -> None:
    driver = outside(is_paced=True)
    assert reply(driver) == "EXECUTION_VENUE_NOT_PACED"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "EXECUTION_TRADING_REDUCING"),
        ({"is_reduce_only": True}, "SUBMITTED"),
        ({"action": OrderAction.CLOSE}, "SUBMITTED"),
    ],
)
def test_while_an_order_is_unknown_its_instrument_only_reduces(
    changes: dict[str, Any], expected: str
) -> None:
    driver = sent()
    driver.step(UNKNOWN)
    assert reply(driver, **changes) == expected
    driver.step(replace(UNKNOWN, kind=ReportKind.ACCEPTED))
    assert reply(driver, "o3") == "SUBMITTED"


def test_of_what_makes_an_instrument_reduce_the_first_by_name_is_told() -> None:
    """Whatever a snapshot did to the order of the maps."""
    driver = outside()
    for name in ("o2", "o1", "o3"):
        driver.step(approved(order(name)))
        driver.beat()
    for name in ("o3", "o2", "o1"):
        driver.step(replace(UNKNOWN, report_id=f"r-{name}", client_order_id=name))
    (update,) = updates(driver.step(approved(order("o4"))))
    assert update.reason.startswith("Order o1 is unknown")


def test_of_several_drifts_the_first_by_name_is_told() -> None:
    driver = outside()
    driver.step(instrument(instrument_id="A.ARCA"))
    for _ in range(3):
        driver.step(statement("3", "99000"))
    (update,) = updates(driver.step(approved(order("o4"))))
    assert update.reason.startswith("The venue and our books differ: cash/USD.")


def test_an_unknown_order_concerns_no_other_account_and_instrument() -> None:
    driver = outside()
    for record in (account(account_id="a2", mode=Mode.LIVE), live_switch(scope_id="a2")):
        driver.step(record)
    driver.step(approved(order(account_id="a2"), account_id="a2"))
    driver.step(replace(UNKNOWN, account_id="a2"))
    assert reply(driver) == "SUBMITTED"


# ---- what was undone


def test_a_busted_fill_is_taken_back_to_the_last_unit() -> None:
    driver = sent()
    said = step_all(driver, fill("t1", "4"), fill("t2", "6"), bust("t1", "4"), bust("t1", "4"))
    assert said[-3:] == [
        "incident VENUE_BUSTED_FILL",
        "position -4 @ 100 for g1",
        "cash 0.5 USD",
    ]
    book = driver.state.external.books["a1"]
    assert book.ledger.net_quantity("SPY.ARCA") == 6
    assert book.cash("USD") == dec(100_000) - 600 - dec("0.5")


def test_a_bust_that_overtakes_its_fill_keeps_it_out() -> None:
    driver = sent()
    assert step_all(driver, bust("t1", "4"), fill("t1", "4"), fill("t1", "4")) == []
    assert step_all(driver, fill("t2", "6"))[0] == "fill 6 @ 100 taker"
    assert driver.state.external.books["a1"].ledger.net_quantity("SPY.ARCA") == 6


def test_a_busted_sale_is_bought_back() -> None:
    driver = outside()
    driver.step(approved(order(side=Side.SELL)))
    said = step_all(driver, fill("t1", "10"), bust("t1", "10"))
    assert "position 10 @ 100 for g1" in said


def test_a_bust_of_an_order_nobody_knows_is_told() -> None:
    assert step_all(outside(), bust("t1", "4")) == ["incident VENUE_REPORTS_UNKNOWN_ORDER"]


# ---- what differs


def test_agreement_says_nothing() -> None:
    driver = sent()
    step_all(driver, fill("t1", "10"))
    for _ in range(20):
        assert step_all(driver, statement("10", "98999.5")) == []


def test_a_difference_that_lasts_is_drift_until_it_agrees_again() -> None:
    driver = outside()
    assert step_all(driver, statement("-5")) == []
    assert reply(driver) == "SUBMITTED"
    assert step_all(driver, statement("-5")) == [
        "drift position/SPY.ARCA opened",
        "incident VENUE_DRIFT",
    ]
    assert reply(driver, "o3") == "EXECUTION_TRADING_REDUCING"
    assert reply(driver, "o4", is_reduce_only=True) == "SUBMITTED"
    assert step_all(driver, statement("-5")) == []
    assert step_all(driver, statement()) == ["drift position/SPY.ARCA settled"]
    assert reply(driver, "o5") == "SUBMITTED"


def test_a_fill_on_its_way_is_no_drift() -> None:
    driver = sent()
    assert step_all(driver, statement("10", "98999.5")) == []
    step_all(driver, fill("t1", "10"))
    assert step_all(driver, statement("10", "98999.5")) == []
    # Between two statements something was booked each time: it may be the next fill's turn.
    driver.step(approved(order("o2", quantity=dec(100))))
    for number in range(8):
        held = 10 + number + 1
        ahead = statement(str(held + 1), str(98999.5 - 100 * (number + 2)))
        assert step_all(driver, ahead) == []
        trade = fill(f"u{number}", "1", client_order_id="o2", commission=dec(0))
        assert len(step_all(driver, trade)) == 2


def test_drift_is_found_also_while_the_account_trades_on() -> None:
    driver = outside()
    driver.step(approved(order(quantity=dec(100))))
    said: list[str] = []
    for number in range(12):
        step_all(driver, fill(f"t{number}", "1", commission=dec(0)))
        said += step_all(driver, statement(str(number + 8), str(100_000 - 100 * (number + 1))))
    assert said == ["drift position/SPY.ARCA opened", "incident VENUE_DRIFT"] * 3


def test_drift_in_cash_concerns_the_whole_account() -> None:
    driver = outside()
    assert step_all(driver, statement(cash="99990"), statement(cash="99990")) == [
        "drift cash/USD opened",
        "incident VENUE_DRIFT",
    ]
    assert reply(driver) == "EXECUTION_TRADING_REDUCING"


def test_an_order_that_the_venue_holds_and_we_do_not_is_drift() -> None:
    driver = sent()
    mine = statement(open_orders=("o1",))
    assert step_all(driver, mine, mine) == []
    ghost = statement(open_orders=("o1", "ghost"))
    said = step_all(driver, ghost, ghost)
    assert said == ["drift order/ghost opened", "incident VENUE_DRIFT"]
    drift = driver.state.external.books["a1"].drifts["order/ghost"]
    assert step_all(driver, accept(drift.drift_id)) == ["incident VENUE_TRUTH_UNUSABLE"]
    assert step_all(driver, mine) == ["drift order/ghost settled"]


def drifting() -> tuple[Driver, str, str]:
    """Somebody bought 5 at 101 at the venue, past us."""
    driver = outside()
    step_all(driver, statement("5", "99495"), statement("5", "99495"))
    drifts = driver.state.external.books["a1"].drifts
    return driver, drifts["position/SPY.ARCA"].drift_id, drifts["cash/USD"].drift_id


def test_an_operator_accepts_exactly_what_was_shown() -> None:
    driver, position, cash = drifting()
    said = step_all(driver, accept(position, cash))
    assert said[0] == "position 5 @ 101 for MANUAL"
    assert sorted(said[1:]) == ["drift cash/USD settled", "drift position/SPY.ARCA settled"]
    assert step_all(driver, statement("5", "99495")) == []
    assert reply(driver) == "SUBMITTED"


def test_accepting_a_position_alone_moves_no_cash() -> None:
    driver, position, _ = drifting()
    said = step_all(driver, accept(position))
    assert said[:2] == ["position 5 @ 101 for MANUAL", "cash 505 USD"]
    book = driver.state.external.books["a1"]
    assert (book.cash("USD"), book.ledger.net_quantity("SPY.ARCA")) == (100_000, 5)
    assert list(book.drifts) == ["cash/USD"]


def test_figures_that_have_moved_on_are_not_accepted() -> None:
    driver, position, cash = drifting()
    step_all(driver, statement("6", "99394"), statement("6", "99394"))
    assert step_all(driver, accept(position, cash)) == ["incident VENUE_TRUTH_CHANGED"]
    assert step_all(driver, accept("made-up", sequence=2)) == ["incident VENUE_TRUTH_CHANGED"]
    assert step_all(driver, accept(position, sequence=2)) == ["incident CONTROL_OLD_SEQUENCE"]
    assert driver.state.external.books["a1"].ledger.net_quantity("SPY.ARCA") == 0


def test_what_nobody_signed_is_not_accepted() -> None:
    driver, position, cash = drifting()
    said = driver.step(accept(position, cash), verdict="BAD_SIGNATURE")
    assert says(said) == ["incident CONTROL_BAD_SIGNATURE"]


# ---- cash moved by other than fills


@pytest.mark.parametrize(
    ("kind", "amount"),
    [("deposit", "500"), ("withdrawal", "-500"), ("fee", "-0.01"), ("funding", "-0.25")],
)
def test_an_entry_is_booked_once(kind: str, amount: str) -> None:
    driver = outside()
    after = str(dec(100_000) + dec(amount))
    booked = statement(cash=after, entries=(entry(kind, amount, instrument_id="SPY.ARCA"),))
    assert step_all(driver, booked, booked, booked) == [f"cash {amount} USD"]
    is_funding = isinstance(driver.outputs[-1].record, FundingPayment)
    assert is_funding == (kind == "funding")
    assert driver.state.external.books["a1"].cash("USD") == dec(after)


def test_an_entry_too_old_to_be_known_is_told_and_not_booked() -> None:
    driver = outside()
    old = statement(entries=(entry("fee", "-1", ts_event_ns=T0 - 86_400 * SECOND),))
    assert step_all(driver, old) == ["incident VENUE_ENTRY_TOO_OLD"]


def test_a_statement_of_an_account_that_is_not_ours_is_told() -> None:
    driver = outside()
    said = driver.step(replace(statement(), account_id="b7"))
    assert [one.code for one in incidents(said)] == ["ACCOUNT_NOT_HERE"]


def test_on_paper_nothing_from_outside_is_heard() -> None:
    driver = Driver(core=outside().core.__class__(replace(outside().core.context, mode="PAPER")))
    for event in outside().history:
        if event.topic in (topics.CONFIG,):
            driver.step(event.record)
    driver.beat()
    driver.step(approved(limit("o1", "90")))
    assert step_all(driver, UNKNOWN, not_sent(), bust("t1", "1"), statement("5")) == []


def test_drift_in_a_position_concerns_no_other_instrument() -> None:
    driver = outside()
    driver.step(instrument(instrument_id="IVV.ARCA", symbol="IVV"))
    step_all(driver, statement("-5"), statement("-5"))
    assert reply(driver, "o2", instrument_id="IVV.ARCA") == "SUBMITTED"
    assert reply(driver, "o3") == "EXECUTION_TRADING_REDUCING"


def test_a_bust_without_a_fee_gives_no_fee_back() -> None:
    driver = sent()
    free = replace(bust("t1", "4"), commission=dec(0))
    said = step_all(driver, fill("t1", "4", commission=dec(0)), free)
    assert said[-2:] == ["incident VENUE_BUSTED_FILL", "position -4 @ 100 for g1"]


def test_a_position_that_vanished_and_was_never_priced_is_not_booked() -> None:
    driver = outside()
    position = VenuePosition(instrument_id="SPY.ARCA", quantity=dec(5), price=None)
    unpriced = replace(statement(), positions=(position,))
    step_all(driver, unpriced, unpriced)
    drift = driver.state.external.books["a1"].drifts["position/SPY.ARCA"]
    said = driver.step(accept(drift.drift_id))
    (incident,) = incidents(said)
    assert incident.code == "VENUE_TRUTH_UNUSABLE"
    assert "There is no price" in incident.reason
    assert driver.state.external.books["a1"].ledger.net_quantity("SPY.ARCA") == 0


def test_a_bust_of_an_order_that_has_ended_keeps_its_late_fill_out() -> None:
    driver = sent()
    step_all(driver, fill("t1", "6"), replace(UNKNOWN, kind=ReportKind.CANCELED))
    assert "o1" in driver.state.ended
    assert step_all(driver, bust("t2", "4"), fill("t2", "4")) == []
    assert "t2" in driver.state.ended["o1"].trade_ids


@pytest.mark.parametrize(
    ("kind", "severity"), [(ReportKind.FILLED, "critical"), (ReportKind.CANCELED, "warning")]
)
def test_a_fill_of_an_order_nobody_knows_is_worse_than_other_news(
    kind: ReportKind, severity: str
) -> None:
    (incident,) = incidents(outside().step(fill("t1", "1", kind=kind)))
    assert (incident.code, incident.severity) == ("VENUE_REPORTS_UNKNOWN_ORDER", severity)


def test_an_entry_and_the_cash_it_moved_are_not_even_suspicious() -> None:
    driver = outside()
    booked = statement(cash="100500", entries=(entry("deposit", "500"),))
    assert step_all(driver, booked) == ["cash 500 USD"]
    assert driver.state.external.books["a1"].suspicions == {}


def test_a_difference_that_changes_is_not_yet_drift() -> None:
    driver = outside()
    assert step_all(driver, statement("-5"), statement("-6"), statement("-5")) == []
    assert step_all(driver, statement("-5"))[0] == "drift position/SPY.ARCA opened"
