from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeline.accounting.exposure import Unit, valuation
from tapeline.accounting.ledger import Booking, Ledger
from tapeline.accounting.numbers import CONTEXT, ONE, ZERO, exact, notional

D = Decimal
SPY, EWG = "SPY.ARCA", "EWG.XETR"


def booking(group: str, quantity: str, price: str, commission: str = "0") -> Booking:
    return Booking(
        group_id=group,
        instrument_id=SPY,
        quantity=D(quantity),
        price=D(price),
        currency="USD",
        commission=D(commission),
    )


BOOKINGS = st.builds(
    Booking,
    group_id=st.sampled_from(["a", "b"]),
    instrument_id=st.sampled_from([SPY, EWG]),
    quantity=st.decimals(min_value=-100, max_value=100, places=18),
    price=st.decimals(min_value=0, max_value=10000, places=18),
    currency=st.sampled_from(["USD"]),
    multiplier=st.sampled_from([ONE, D("0.1"), D(50)]),
    commission=st.decimals(min_value=-1, max_value=5, places=18),
)


def test_a_fill_moves_the_group_s_line_and_cash_pays_price_and_commission() -> None:
    ledger = Ledger().deposit("USD", D(1000)).book(booking("a", "2", "100", "1.5"))
    assert ledger.cash == {"USD": D("798.5")}
    assert ledger.line("a", SPY).quantity == 2
    assert ledger.line("b", SPY).quantity == 0


def test_the_account_s_position_is_the_sum_of_its_groups() -> None:
    ledger = Ledger().book(booking("a", "10", "100")).book(booking("b", "-4", "101"))
    assert ledger.net_quantity(SPY) == 6
    assert ledger.net_quantity(EWG) == 0


def test_booking_leaves_the_old_ledger_whole() -> None:
    before = Ledger().book(booking("a", "1", "100"))
    before.book(booking("a", "1", "100"))
    assert before.line("a", SPY).quantity == 1
    assert before.cash == {"USD": D(-100)}


def test_a_dividend_is_paid_on_units_before_the_split() -> None:
    ledger = Ledger().book(booking("a", "10", "100")).book(booking("b", "-4", "100"))
    after = ledger.corporate_action(SPY, split_ratio=D(2), dividend=D("0.5"), currency="USD")
    assert after.line("a", SPY).quantity == 20
    assert after.line("b", SPY).quantity == -8
    assert after.cash["USD"] == D("-597")


def test_a_corporate_action_on_nothing_held_changes_no_line() -> None:
    after = Ledger().corporate_action(SPY, split_ratio=D(2), dividend=ZERO, currency="USD")
    assert after == Ledger()


def test_worth_is_computed_as_by_hand_with_groups_netted_and_currencies_converted() -> None:
    ledger = Ledger().deposit("USD", D(1000)).deposit("EUR", D(100))
    ledger = ledger.book(booking("a", "10", "50")).book(booking("b", "-4", "50"))
    worth = valuation(ledger, {SPY: Unit(price=D(60))}, {"USD": ONE, "EUR": D("1.1")})
    assert worth.cash == D("810")  # 1000 - 300 + 110
    assert worth.nav == D("1170")
    assert (worth.gross, worth.net, worth.gross_of_lines) == (D(360), D(360), D(840))
    assert worth.leverage() == CONTEXT.create_decimal("0.307692307692307692")


def test_shorts_count_in_gross_and_against_net() -> None:
    ledger = Ledger().deposit("USD", D(1000)).book(booking("a", "-2", "100"))
    unit = Unit(price=D(110), multiplier=ONE, rate=ONE)
    worth = valuation(ledger, {SPY: unit}, {"USD": ONE})
    assert (worth.nav, worth.gross, worth.net) == (D(980), D(220), D(-220))


def test_what_is_held_is_never_valued_at_a_guess() -> None:
    ledger = Ledger().book(booking("a", "1", "100"))
    with pytest.raises(KeyError):
        valuation(ledger, {}, {"USD": ONE})
    with pytest.raises(KeyError):
        valuation(ledger, {SPY: Unit(price=ONE)}, {})


def test_a_line_that_is_flat_needs_no_price() -> None:
    ledger = Ledger().book(booking("a", "1", "100")).book(booking("a", "-1", "101"))
    assert valuation(ledger, {}, {"USD": ONE}).nav == 1


@given(st.lists(BOOKINGS, max_size=15))
def test_cash_is_conserved_exactly(entries: list[Booking]) -> None:
    ledger, moved = Ledger(), ZERO
    for entry in entries:
        ledger = ledger.book(entry)
        paid = notional(entry.quantity, entry.price, entry.multiplier)
        moved = CONTEXT.subtract(moved, CONTEXT.add(paid, entry.commission))
    assert ledger.cash.get("USD", ZERO) == moved


@given(st.lists(BOOKINGS, max_size=15), st.decimals(min_value=0, max_value=10000, places=18))
def test_profit_of_all_lines_is_the_change_of_nav(entries: list[Booking], mark: Decimal) -> None:
    # One multiplier an instrument, as in life.
    fixed_multiplier = {SPY: ONE, EWG: D(50)}
    ledger = Ledger()
    for entry in entries:
        multiplier = fixed_multiplier[entry.instrument_id]
        ledger = ledger.book(
            Booking(
                group_id=entry.group_id,
                instrument_id=entry.instrument_id,
                quantity=entry.quantity,
                price=entry.price,
                currency="USD",
                multiplier=multiplier,
                commission=entry.commission,
            )
        )

    @exact
    def profit() -> Decimal:
        total = ZERO
        for instrument_id, lines in ledger.lines.items():
            for line in lines.values():
                unrealized = line.unrealized_pnl(mark, fixed_multiplier[instrument_id])
                total += line.realized_pnl + unrealized - line.commission
        return total

    units = {name: Unit(price=mark, multiplier=m) for name, m in fixed_multiplier.items()}
    nav = valuation(ledger, units, {"USD": ONE}).nav
    # Lines are valued one by one and the account at their sum: one rounding step a line at most.
    assert abs(CONTEXT.subtract(nav, profit())) <= D("4E-18")


@given(st.lists(BOOKINGS, max_size=10))
def test_the_order_of_fills_of_different_lines_is_irrelevant(entries: list[Booking]) -> None:
    by_line = sorted(entries, key=lambda entry: (entry.group_id, entry.instrument_id))
    one = other = Ledger()
    for entry in entries:
        one = one.book(entry)
    for entry in by_line:
        other = other.book(entry)
    assert one.cash == other.cash
    assert one.lines == other.lines
