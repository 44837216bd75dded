"""The one decimal context of money, and the only functions that may round.

In `CONTEXT` an inexact result is an error, not a surprise: sums and products of two numbers of
the wire (38 digits, 18 of them decimals) are exact at 76 digits, and everything else has to go
through a named function here. Figures that are kept in a ledger have exactly 18 decimals
(`fixed`, `quantize_money`), so that equal states have equal bytes.

    @exact
    def decide(...): ...      everything called from here computes in CONTEXT
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import (
    ROUND_05UP,
    ROUND_CEILING,
    ROUND_DOWN,
    ROUND_FLOOR,
    ROUND_HALF_EVEN,
    Context,
    Decimal,
    DivisionByZero,
    Inexact,
    InvalidOperation,
    Overflow,
    getcontext,
    setcontext,
)
from functools import lru_cache, wraps
from math import isfinite
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

CONTEXT: Final = Context(
    prec=76,
    rounding=ROUND_HALF_EVEN,
    traps=[Inexact, InvalidOperation, Overflow, DivisionByZero],
)
ZERO: Final = Decimal("0E-18")
ONE: Final = Decimal(1)
STEP: Final = Decimal("1E-18")
"""Smallest difference between two figures on the wire."""
WIRE_MAX: Final = Decimal(f"{'9' * 20}.{'9' * 18}")
"""Largest number that decimal(38,18) holds."""
WIRE_MIN: Final = WIRE_MAX.copy_negate()
# A minus sign would round in the context of whoever imports this.

# Wide enough for any product of three numbers of the wire. Results of a division are cut with
# ROUND_05UP, which leaves a trace of what was cut, so that rounding a second time cannot go wrong.
_WIDE: Final = Context(
    prec=200, rounding=ROUND_05UP, traps=[InvalidOperation, Overflow, DivisionByZero]
)


def exact(function: Callable[P, R]) -> Callable[P, R]:
    """Makes a function, and all it calls, compute in CONTEXT."""

    @wraps(function)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        outer = getcontext()
        if outer is CONTEXT:
            return function(*args, **kwargs)
        setcontext(CONTEXT)
        try:
            return function(*args, **kwargs)
        finally:
            setcontext(outer)

    return inside


def fixed(value: Decimal) -> Decimal:
    """The same number with exactly 18 decimals, never -0; raises Inexact if it has more."""
    return CONTEXT.quantize(value, STEP) or ZERO


def quantize_money(value: Decimal) -> Decimal:
    """Rounded to 18 decimals, half to even."""
    # Zero has one text: -0 is equal to it, and its bytes must be too.
    return value.quantize(STEP, ROUND_HALF_EVEN, _WIDE) or ZERO


def bounded(value: Decimal) -> Decimal:
    """For figures that are only shown: rounded, and cut to what the wire holds."""
    if value > WIRE_MAX:
        return WIRE_MAX
    return WIRE_MIN if value < WIRE_MIN else quantize_money(value)


def decimal_from_float(value: float) -> Decimal:
    """The number that the shortest text of the float says: 0.1 becomes 0.1 exactly."""
    assert isfinite(value), "no NaN or infinity crosses a topic"
    return Decimal(repr(value))


@lru_cache(maxsize=65536)
def price_from_float(value: float) -> Decimal:
    """A price of market data as money: its shortest text, rounded to 18 decimals."""
    return quantize_money(decimal_from_float(value))


def divide_rounded(dividend: Decimal, divisor: Decimal, rounding: str = ROUND_HALF_EVEN) -> Decimal:
    """A quotient rounded to 18 decimals; raises DivisionByZero or InvalidOperation for 0."""
    quotient = _WIDE.divide(dividend, divisor)
    return quotient.quantize(STEP, rounding, _WIDE) or ZERO


def divide_down(dividend: Decimal, divisor: Decimal) -> Decimal:
    """A quotient rounded towards zero, for what must not exceed a limit."""
    return divide_rounded(dividend, divisor, ROUND_DOWN)


def root_rounded(value: Decimal) -> Decimal:
    """A square root rounded to 18 decimals, half to even; raises InvalidOperation below 0."""
    return _WIDE.sqrt(value).quantize(STEP, ROUND_HALF_EVEN, _WIDE)


def product(one: Decimal, other: Decimal) -> Decimal:
    """A product with all of its digits, to be compared."""
    return _WIDE.multiply(one, other)


def share(amount: Decimal, part: Decimal, whole: Decimal) -> Decimal:
    """amount x part / whole, rounded to 18 decimals, half to even."""
    return divide_rounded(_WIDE.multiply(amount, part), whole)


def _multiple(value: Decimal, step: Decimal, rounding: str) -> Decimal:
    assert step > 0, "a step is positive"
    count = _WIDE.divide(value, step).quantize(ONE, rounding, _WIDE)
    return fixed(CONTEXT.multiply(count, step))


def round_down_to_lot(quantity: Decimal, lot_size: Decimal) -> Decimal:
    """The multiple of the lot next to `quantity` towards zero."""
    return _multiple(quantity, lot_size, ROUND_DOWN)


def round_to_tick(price: Decimal, tick_size: Decimal) -> Decimal:
    """The nearest multiple of the tick, half to even."""
    return _multiple(price, tick_size, ROUND_HALF_EVEN)


def round_down_to_tick(price: Decimal, tick_size: Decimal) -> Decimal:
    """The multiple of the tick at or below: a buyer's limit price never gets worse."""
    return _multiple(price, tick_size, ROUND_FLOOR)


def round_up_to_tick(price: Decimal, tick_size: Decimal) -> Decimal:
    """The multiple of the tick at or above: a seller's limit price never gets worse."""
    return _multiple(price, tick_size, ROUND_CEILING)


def is_multiple(value: Decimal, step: Decimal) -> bool:
    """Whether a price or quantity lies on its grid."""
    return _WIDE.remainder(value, step) == 0


def notional(quantity: Decimal, price: Decimal, multiplier: Decimal = ONE) -> Decimal:
    """quantity x price x multiplier, signed like the quantity, in the instrument's currency.

    Rounded to 18 decimals, half to even. Cash, cost and market value all take this one figure, so
    nothing is lost between them.
    """
    product = _WIDE.multiply(quantity, price)
    if multiplier != 1:
        product = _WIDE.multiply(product, multiplier)
    return quantize_money(product)


def converted(amount: Decimal, rate: Decimal) -> Decimal:
    """An amount in another currency at `rate`, rounded to 18 decimals, half to even."""
    return amount if rate == 1 else quantize_money(_WIDE.multiply(amount, rate))
