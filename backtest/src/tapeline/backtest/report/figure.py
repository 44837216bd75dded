"""A figure of a report: a number with its unit, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from math import isfinite

import msgspec


class Unit(StrEnum):
    """How a figure is read."""

    SHARE = "share"
    """1 is 100 %"""
    NUMBER = "number"
    MONEY = "money"
    """in the base currency"""
    DAYS = "days"
    COUNT = "count"


class Figure(msgspec.Struct, frozen=True):
    """A number, or None with the reason; never a zero or an infinity in place of the unknown."""

    value: float | None
    unit: Unit
    reason: str = ""


Figures = Mapping[str, Figure]


def known(value: float, unit: Unit) -> Figure:
    """A figure that has a value; what is not finite is none."""
    number = float(value)
    return Figure(number, unit) if isfinite(number) else undefined(unit, "not a finite number")


def undefined(unit: Unit, reason: str) -> Figure:
    """A figure that has no value here."""
    return Figure(None, unit, reason)


def ratio(over: float, under: float, unit: Unit, reason: str) -> Figure:
    """`over` by `under`, or undefined with the reason where that is zero."""
    return known(over / under, unit) if under else undefined(unit, reason)
