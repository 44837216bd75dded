"""The checks that no NaN, no infinity and no decimal out of range crosses a topic."""

from __future__ import annotations

from decimal import Decimal
from math import isfinite


class NotFinite(ValueError):
    """A number field holds NaN, an infinity, or a decimal that decimal(38,18) cannot hold."""


_LIMIT = Decimal(10) ** 20


def in_range(value: Decimal, what: str) -> Decimal:
    """The value itself, or NotFinite naming the field."""
    if not (value.is_finite() and -_LIMIT < value < _LIMIT):
        raise NotFinite(f"{what} is {value}; decimal(38,18) holds magnitudes below 1E+20")
    return value


def finite(value: float, what: str) -> float:
    """The value itself, or NotFinite naming the field."""
    if not isfinite(value):
        raise NotFinite(f"{what} is {value}; only finite numbers may cross a topic")
    return value
