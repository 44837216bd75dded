from __future__ import annotations

import threading
from decimal import Decimal, DivisionByZero, Inexact, InvalidOperation, getcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeline.accounting import numbers
from tapeline.accounting.numbers import CONTEXT, STEP, WIRE_MAX, WIRE_MIN, ZERO, exact

D = Decimal
WIRE = st.decimals(min_value=WIRE_MIN, max_value=WIRE_MAX, places=18)
POSITIVE = st.decimals(min_value=STEP, max_value=10**9, places=18)


@exact
def product(a: Decimal, b: Decimal) -> Decimal:
    return a * b


@given(WIRE, WIRE)
def test_a_product_of_two_wire_numbers_is_exact(a: Decimal, b: Decimal) -> None:
    # Integers are exact in any case: an independent check without decimals.
    scaled = int(a.scaleb(18, CONTEXT)) * int(b.scaleb(18, CONTEXT))
    assert int(product(a, b).scaleb(36, CONTEXT)) == scaled


def test_an_inexact_result_is_an_error_inside_and_the_outer_context_comes_back() -> None:
    @exact
    def third() -> Decimal:
        return D(1) / D(3)

    outer = getcontext()
    with pytest.raises(Inexact):
        third()
    assert getcontext() is outer


def test_the_exact_context_holds_in_every_thread() -> None:
    seen: list[Decimal] = []
    wide = D("12345678901234567890.123456789012345678")
    thread = threading.Thread(target=lambda: seen.append(product(wide, wide)))
    thread.start()
    thread.join()
    assert seen == [product(wide, wide)]
    assert len(seen[0].as_tuple().digits) > 70


@pytest.mark.parametrize(
    ("value", "text"),
    [("0.5", "0.500000000000000000"), ("-0", "0E-18"), ("100", "100.000000000000000000")],
)
def test_fixed_gives_one_text_for_equal_numbers(value: str, text: str) -> None:
    assert str(numbers.fixed(D(value))) == text


def test_fixed_refuses_what_has_more_decimals() -> None:
    with pytest.raises(Inexact):
        numbers.fixed(D("1E-19"))


@pytest.mark.parametrize(
    ("value", "rounded"),
    [
        ("0.0000000000000000005", "0"),
        ("0.0000000000000000015", "2E-18"),
        ("0.00000000000000000051", "1E-18"),
        ("-0.0000000000000000001", "0"),
    ],
)
def test_money_rounds_half_to_even_and_never_to_minus_zero(value: str, rounded: str) -> None:
    result = numbers.quantize_money(D(value))
    assert result == D(rounded)
    assert not (result == 0 and result.is_signed())


def test_the_largest_figure_is_the_last_below_ten_to_the_twentieth() -> None:
    assert D(10) ** 20 > WIRE_MAX
    assert CONTEXT.add(WIRE_MAX, STEP) == D(10) ** 20


def test_figures_to_show_are_cut_to_what_the_wire_holds() -> None:
    assert numbers.bounded(D("1E+40")) == WIRE_MAX
    assert numbers.bounded(D("-1E+40")) == WIRE_MIN
    assert numbers.bounded(D("1.5")) == D("1.5")


@pytest.mark.parametrize(
    ("value", "text"), [(0.1, "0.1"), (2089.27, "2089.27"), (1e22, "1E+22"), (-0.3, "-0.3")]
)
def test_a_float_becomes_the_number_its_text_says(value: float, text: str) -> None:
    assert numbers.decimal_from_float(value) == D(text)


def test_nan_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        numbers.decimal_from_float(float("nan"))


def test_a_price_finer_than_the_wire_is_rounded() -> None:
    assert numbers.price_from_float(0.0012345678901234567) == D("0.001234567890123457")
    assert numbers.price_from_float(1e-30) == ZERO


@given(WIRE, POSITIVE)
def test_a_rounded_quotient_is_the_nearest(a: Decimal, b: Decimal) -> None:
    quotient = numbers.divide_rounded(a, b)
    # Twice the rest is not above the divisor, in integers.
    rest = int(a.scaleb(36, CONTEXT)) - int(quotient.scaleb(18, CONTEXT)) * int(
        b.scaleb(18, CONTEXT)
    )
    assert 2 * abs(rest) <= int(b.scaleb(18, CONTEXT))


def test_a_quotient_a_trace_above_the_half_is_rounded_up() -> None:
    # The trace lies beyond the digits that a division keeps; half-even alone would give 0.
    half_and_a_trace = D(f"5.{'0' * 250}1")
    assert numbers.divide_rounded(D("5E-19"), D(1)) == 0
    assert numbers.divide_rounded(half_and_a_trace, D("1E+19")) == STEP


def test_division_by_zero_is_an_error() -> None:
    with pytest.raises(DivisionByZero):
        numbers.divide_rounded(D(1), D(0))
    with pytest.raises(InvalidOperation):
        numbers.divide_rounded(D(0), D(0))


def test_dividing_down_never_exceeds() -> None:
    assert numbers.divide_down(D(2), D(3)) == D("0.666666666666666666")
    assert numbers.divide_down(D(-2), D(3)) == D("-0.666666666666666666")


@pytest.mark.parametrize(
    ("quantity", "lot", "expected"),
    [
        ("1.999", "0.5", "1.5"),
        ("2", "0.5", "2"),
        ("0.49", "0.5", "0"),
        ("-1.999", "0.5", "-1.5"),
        ("123456.789", "0.00001", "123456.789"),
        ("7", "3", "6"),
    ],
)
def test_quantities_round_towards_zero_to_the_lot(quantity: str, lot: str, expected: str) -> None:
    assert numbers.round_down_to_lot(D(quantity), D(lot)) == D(expected)


@pytest.mark.parametrize(
    ("price", "tick", "nearest", "down", "up"),
    [
        ("10.03", "0.05", "10.05", "10", "10.05"),
        ("10.025", "0.05", "10", "10", "10.05"),
        ("10.05", "0.05", "10.05", "10.05", "10.05"),
        ("10.0749", "0.05", "10.05", "10.05", "10.1"),
    ],
)
def test_prices_round_to_the_tick(price: str, tick: str, nearest: str, down: str, up: str) -> None:
    assert numbers.round_to_tick(D(price), D(tick)) == D(nearest)
    assert numbers.round_down_to_tick(D(price), D(tick)) == D(down)
    assert numbers.round_up_to_tick(D(price), D(tick)) == D(up)


@given(WIRE, POSITIVE)
def test_a_rounded_quantity_lies_on_the_grid_and_loses_less_than_a_lot(
    quantity: Decimal, lot: Decimal
) -> None:
    rounded = numbers.round_down_to_lot(quantity, lot)
    assert numbers.is_multiple(rounded, lot)
    assert abs(CONTEXT.subtract(quantity, rounded)) < lot
    assert abs(rounded) <= abs(quantity)


def test_a_step_must_be_positive() -> None:
    with pytest.raises(AssertionError):
        numbers.round_down_to_lot(D(1), D(0))


def test_notional_takes_the_multiplier_and_keeps_the_sign() -> None:
    assert numbers.notional(D("-2"), D("50.5"), D("10")) == D("-1010")
    assert numbers.notional(D("1E-18"), D("0.5")) == ZERO


def test_conversion_at_one_changes_nothing() -> None:
    assert numbers.converted(D("1.25"), D(1)) == D("1.25")
    assert numbers.converted(D("3"), D("0.333333333333333333")) == D("0.999999999999999999")


def test_a_share_of_all_is_all() -> None:
    assert numbers.share(D("100"), D(3), D(3)) == D("100")
    assert numbers.share(D("100"), D(1), D(3)) == D("33.333333333333333333")
