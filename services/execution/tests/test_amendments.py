"""Transcripts of amendments: what is approved, what the venue answers, what holds afterwards.

The venue is one from which only the test reports, or the paper venue. Half spread 0.1 %."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from execution_samples import (
    SECOND,
    T0,
    Driver,
    amend,
    approved,
    cancel,
    dec,
    limit,
    order,
    outside,
    ready,
    set_state,
    sliced,
    told,
    trade,
    updates,
)

from tapeline.contracts.orders import (
    Order,
    OrderStatus,
    OrderType,
    ReportKind,
    ReportNotice,
    Side,
    VenueReport,
)
from tapeline.contracts.risk import TradingState
from tapeline.execution.venues import arrival
from tapeline.execution.venues.paper_state import PaperAmendment

OLD = limit("o1", "90", quantity=dec(10))
AMENDED, REJECTED = ReportNotice.AMENDED, ReportNotice.AMEND_REJECTED


def report(
    kind: ReportKind, trade_id: str = "", quantity: str = "0", **changes: Any
) -> VenueReport:
    is_fill = kind is ReportKind.FILLED
    plain = VenueReport(
        report_id=f"{kind}-{trade_id}",
        account_id="a1",
        venue="PAPER",
        kind=kind,
        client_order_id="o1",
        venue_order_id="v1",
        trade_id=trade_id,
        price=dec("89.5") if is_fill else None,
        quantity=dec(quantity) if is_fill else None,
        commission=dec("0.1") if is_fill else None,
        currency="USD" if is_fill else "",
        reason="",
        ts_event_ns=T0 + 5,
        ts_init_ns=T0 + 5,
    )
    return replace(plain, **changes)


ACCEPTED = report(ReportKind.ACCEPTED)
YES, NO = replace(ACCEPTED, notice=AMENDED), replace(ACCEPTED, notice=REJECTED)


def fill(quantity: str, number: int = 1) -> VenueReport:
    return report(ReportKind.FILLED, f"t{number}", quantity)


def away() -> Driver:
    """An order of 10 that an external venue has accepted; it answers when the test says so."""
    driver = outside()
    driver.step(approved(OLD))
    driver.step(ACCEPTED)
    return driver


def paper() -> Driver:
    driver = ready()
    driver.step(approved(OLD))
    return driver


def new(**changes: Any) -> Order:
    return replace(OLD, **changes)


# ---- on paper


def test_an_amendment_gives_the_order_its_new_terms_and_ends() -> None:
    driver = paper()
    assert told(driver.step(amend(new(quantity=dec(20), limit_price=dec(95))))) == [
        "amend ACCEPTED AMEND 20",
        "whole ACCEPTED AMENDED",
        "amend ACCEPTED AMENDED end",
    ]
    held = driver.state.orders["o1"]
    assert (held.order.quantity, held.order.limit_price) == (20, 95)
    assert held.approval_id == "approval-o1"
    driver.now_ns += SECOND
    assert told(driver.step(trade(driver.now_ns, 94.0))) == ["fill 20 @ 94.1", "whole FILLED end"]
    assert driver.core.dump(driver.recovered()) == driver.dumped()


def test_less_keeps_its_place_in_the_queue_and_more_loses_it() -> None:
    for quantity, expected in (("4", ["o1", "o2"]), ("20", ["o2", "o1"])):
        driver = paper()
        driver.step(approved(limit("o2", "90")))
        driver.step(amend(new(quantity=dec(quantity))))
        assert list(driver.state.paper.by_instrument["SPY.ARCA"]) == expected


@pytest.mark.parametrize(
    "of", [new(quantity=dec("10.5")), new(limit_price=dec("90.001")), new(limit_price=dec(-1))]
)
def test_what_the_venue_rejects_leaves_the_order_as_it_is(of: Order) -> None:
    driver = paper()
    said = told(driver.step(amend(of)))
    assert said[1:] == [
        "whole ACCEPTED AMEND_REJECTED",
        "amend ACCEPTED AMEND_REJECTED EXECUTION_AMEND_REJECTED end",
    ]
    assert driver.state.orders["o1"].order == OLD


def test_a_stop_that_was_triggered_keeps_its_stop() -> None:
    driver = ready(participation_max=dec(1))
    of = order(
        "o1",
        side=Side.SELL,
        order_type=OrderType.STOP_LIMIT,
        stop_price=dec(95),
        limit_price=dec(94),
    )
    driver.step(approved(of))
    driver.now_ns += SECOND
    driver.step(trade(driver.now_ns, 94.5, 4.0))
    said = told(driver.step(amend(replace(of, stop_price=dec(90)), now_ns=driver.now_ns)))
    assert said[1].endswith("AMEND_REJECTED")
    lower = replace(of, limit_price=dec(93))
    again = amend(lower, now_ns=driver.now_ns, approval_id="amend-2")
    assert told(driver.step(again))[1].endswith("AMENDED")


def test_with_latency_old_terms_hold_until_the_amendment_arrives() -> None:
    driver = ready(latency_ns=SECOND)
    driver.step(approved(OLD))
    driver.at(T0 + SECOND)
    driver.step(amend(new(limit_price=dec(99)), now_ns=driver.now_ns))
    driver.now_ns += SECOND // 2
    assert told(driver.step(trade(driver.now_ns, 98.0))) == []
    driver.at(T0 + 2 * SECOND)
    assert driver.state.orders["o1"].amendment is None
    driver.now_ns += SECOND
    assert told(driver.step(trade(driver.now_ns, 98.0)))[0].startswith("fill 10 @ 98.1")


def test_what_was_filled_on_the_way_is_not_amended_away() -> None:
    driver = ready(latency_ns=SECOND, participation_max=dec(1))
    driver.step(approved(OLD))
    driver.at(T0 + SECOND)
    driver.step(amend(new(quantity=dec(4)), now_ns=driver.now_ns))
    driver.now_ns += SECOND // 2
    driver.step(trade(driver.now_ns, 89.0, 5.0))
    assert told(driver.at(T0 + 3 * SECOND))[0] == "whole PARTIALLY_FILLED AMEND_REJECTED"
    assert driver.state.orders["o1"].order.quantity == 10


# ---- what is refused


@pytest.mark.parametrize(
    ("of", "code"),
    [
        (new(side=Side.SELL), "EXECUTION_NOT_AMENDABLE"),
        (new(venue="PAPER2"), "EXECUTION_NOT_AMENDABLE"),
        (new(order_type=OrderType.MARKET, limit_price=None), "EXECUTION_NOT_AMENDABLE"),
        (new(is_reduce_only=True), "EXECUTION_NOT_AMENDABLE"),
        (new(quantity=dec(0)), "EXECUTION_NOT_POSITIVE"),
        (new(client_order_id="nobody"), "EXECUTION_UNKNOWN_ORDER"),
    ],
)
def test_only_quantity_and_prices_of_an_open_order_can_be_amended(of: Order, code: str) -> None:
    driver = paper()
    assert told(driver.step(amend(of))) == [f"amend DENIED {code} end"]
    assert driver.state.orders["o1"].order == OLD
    assert driver.state.orders["o1"].amendment is None


def test_an_order_that_has_ended_or_is_ending_is_not_amended() -> None:
    driver = away()
    driver.step(cancel(OLD))
    assert told(driver.step(amend(new(quantity=dec(20))))) == [
        "amend DENIED EXECUTION_NOT_AMENDABLE end"
    ]
    driver = paper()
    driver.step(cancel(OLD))
    assert told(driver.step(amend(new(quantity=dec(20))))) == [
        "amend DENIED EXECUTION_NOT_AMENDABLE end"
    ]


def test_a_second_amendment_and_one_of_a_scheduled_order_are_refused() -> None:
    driver = away()
    driver.step(amend(new(quantity=dec(20))))
    again = amend(new(quantity=dec(15)), approval_id="amend-2")
    assert told(driver.step(again)) == ["amend DENIED EXECUTION_NOT_AMENDABLE end"]
    driver = ready()
    driver.step(sliced(OLD, [5, 5]))
    slice_id = next(iter(driver.state.orders))
    of = replace(driver.state.orders[slice_id].order, quantity=dec(9))
    assert told(driver.step(amend(of))) == ["amend DENIED EXECUTION_NOT_AMENDABLE end"]


@pytest.mark.parametrize(
    ("state", "quantity", "passes"),
    [
        (TradingState.HALTED, "5", False),
        (TradingState.REDUCING, "20", False),
        (TradingState.REDUCING, "5", True),
    ],
)
def test_in_reducing_an_order_can_only_become_smaller(
    state: TradingState, quantity: str, *, passes: bool
) -> None:
    driver = paper()
    driver.step(set_state(state))
    said = told(driver.step(amend(new(quantity=dec(quantity)))))
    assert (said[0] == f"amend ACCEPTED AMEND {quantity}") is passes


# ---- at an external venue, where everything may cross


@pytest.mark.parametrize(
    ("quantity", "said", "expected"),
    [
        # More: what fills beyond the old size is no surprise while the answer is out.
        (
            "20",
            [fill("12"), YES, fill("8", 2)],
            [
                "fill 12 @ 89.5",
                "whole PARTIALLY_FILLED",
                "whole PARTIALLY_FILLED AMENDED",
                "amend PARTIALLY_FILLED AMENDED end",
                "fill 8 @ 89.5",
                "whole FILLED end",
            ],
        ),
        # Rejected behind fills of all of the old size: then it is filled.
        (
            "20",
            [fill("10"), NO],
            [
                "fill 10 @ 89.5",
                "whole PARTIALLY_FILLED",
                "whole FILLED AMEND_REJECTED end",
                "amend FILLED AMEND_REJECTED EXECUTION_AMEND_REJECTED end",
            ],
        ),
        # Less, and it was filled so far already.
        (
            "4",
            [fill("4"), YES],
            [
                "fill 4 @ 89.5",
                "whole PARTIALLY_FILLED",
                "whole FILLED AMENDED end",
                "amend FILLED AMENDED end",
            ],
        ),
        # The order ends first; what the venue says later is absorbed.
        (
            "20",
            [report(ReportKind.CANCELED), NO],
            [
                "whole CANCELED end",
                "amend CANCELED AMEND_REJECTED EXECUTION_AMEND_REJECTED end",
            ],
        ),
        # Silence: both sizes stay possible until the venue speaks of the order again.
        (
            "20",
            [report(ReportKind.TIMEOUT), ACCEPTED, YES],
            [
                "whole UNKNOWN",
                "whole ACCEPTED",
                "whole ACCEPTED AMENDED",
                "amend ACCEPTED AMENDED end",
            ],
        ),
        # An answer twice.
        (
            "20",
            [YES, YES],
            [
                "whole ACCEPTED AMENDED",
                "amend ACCEPTED AMENDED end",
                "incident VENUE_REPORTS_UNEXPECTED",
            ],
        ),
        # More than both sizes.
        (
            "20",
            [fill("21")],
            [
                "incident VENUE_REPORTS_OVERFILL",
                "fill 21 @ 89.5",
                "whole FILLED end",
                "amend FILLED AMEND_REJECTED EXECUTION_AMEND_REJECTED end",
            ],
        ),
    ],
)
def test_answers_and_fills_that_cross(
    quantity: str, said: list[VenueReport], expected: list[str]
) -> None:
    driver = away()
    driver.step(amend(new(quantity=dec(quantity))))
    assert [line for one in said for line in told(driver.step(one))] == expected
    assert driver.core.dump(driver.recovered()) == driver.dumped()


def test_an_answer_that_nobody_asked_for_changes_nothing() -> None:
    driver = away()
    assert told(driver.step(YES)) == ["incident VENUE_REPORTS_UNEXPECTED"]
    assert driver.state.orders["o1"].status is OrderStatus.ACCEPTED


@pytest.mark.parametrize(("quantity", "is_taken"), [("3", False), ("4", False), ("5", True)])
def test_an_order_is_not_amended_to_what_is_filled_of_it(quantity: str, *, is_taken: bool) -> None:
    driver = away()
    driver.step(fill("4"))
    said = told(driver.step(amend(new(quantity=dec(quantity)))))
    assert said == (
        [f"amend PARTIALLY_FILLED AMEND {quantity}"]
        if is_taken
        else ["amend DENIED EXECUTION_NOT_AMENDABLE end"]
    )


def test_the_paper_venue_keeps_side_and_type_of_what_it_holds() -> None:
    driver = paper()
    held = driver.state.paper.orders["o1"]
    for changed in ({"side": Side.SELL}, {"order_type": OrderType.MARKET, "limit_price": None}):
        amendment = PaperAmendment(command_id="c", arrival_ns=T0, order=new(**changed))
        asked = replace(held, amendment=amendment)
        fault = arrival.amendment_fault(driver.state.paper, asked)
        assert fault == "side and type of an order stay as they are"


@pytest.mark.parametrize(("said", "known"), [("", "v1"), ("v2", "v2")])
def test_the_venues_id_is_kept_where_its_answer_names_none(said: str, known: str) -> None:
    driver = away()
    driver.step(amend(new(quantity=dec(20))))
    first = updates(driver.step(replace(YES, venue_order_id=said)))[0]
    assert first.venue_order_id == known
