"""What is searched: parameters with the values each may take.

sma_cross.fast=5,10,20          these
sma_cross.slow=20..60/10        from 20 to 60 by 10; whole numbers go by 1 where no step is said
trend.band=0.001..0.01          any number between; not for a grid
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import product

import numpy as np

from tapeline.runtime.exits import USAGE, Failure

Point = dict[str, str]
"""parameter -> value as text"""
DIGITS = 6
"""of a number that was drawn from between"""


class BadSpace(Failure):
    """A parameter's values are not understood."""

    exit_code = USAGE


@dataclass(frozen=True, slots=True)
class Choices:
    """One of a few values."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Between:
    """Any number from low to high, both included."""

    name: str
    low: float
    high: float


Axis = Choices | Between


def parsed(texts: Sequence[str]) -> tuple[Axis, ...]:
    """The axes of NAME=VALUES texts; raises BadSpace."""
    found: dict[str, Axis] = {}
    for text in texts:
        name, _, values = text.partition("=")
        if not name or not values:
            raise BadSpace(f"{text!r} names no values.", "Write NAME.PARAMETER=5,10,20 or 5..20.")
        found[name] = _axis(name, values)
    if not found:
        raise BadSpace("There is nothing to search.", "Name parameters with --param NAME=VALUES.")
    return tuple(found.values())


def _axis(name: str, text: str) -> Axis:
    if ".." not in text:
        values = tuple(value.strip() for value in text.split(","))
        if "" in values or len(set(values)) < len(values):
            raise BadSpace(f"{name}: {text!r} has an empty or repeated value.", "Name each once.")
        return Choices(name, values)
    bounds, _, step_text = text.partition("/")
    low_text, _, high_text = bounds.partition("..")
    try:
        low, high = Decimal(low_text), Decimal(high_text)
        step = Decimal(step_text) if step_text else None
    except InvalidOperation:
        raise BadSpace(
            f"{name}: {text!r} is no range.", "Write LOW..HIGH or LOW..HIGH/STEP."
        ) from None
    are_finite = all(number.is_finite() for number in (low, high, step or low))
    if not are_finite or low >= high or (step is not None and step <= 0):
        raise BadSpace(f"{name}: {text!r} is an empty range.", "Write LOW..HIGH with LOW < HIGH.")
    are_whole = low == int(low) and high == int(high) and "." not in bounds.replace("..", "")
    if step is None and not are_whole:
        return Between(name, float(low), float(high))
    return Choices(name, tuple(_steps(low, high, step or Decimal(1))))


def _steps(low: Decimal, high: Decimal, step: Decimal) -> Iterator[str]:
    value = low
    while value <= high:
        yield f"{value:f}"
        value += step


def grid(axes: Sequence[Axis]) -> list[Point]:
    """Every combination; raises BadSpace for an axis without steps."""
    listed = []
    for axis in axes:
        if isinstance(axis, Between):
            raise BadSpace(
                f"{axis.name} has no steps, which a grid needs.",
                "Write LOW..HIGH/STEP, or search with --method random or bayes.",
            )
        listed.append([(axis.name, value) for value in axis.values])
    return [dict(point) for point in product(*listed)]


def drawn(axes: Sequence[Axis], count: int, seed: int) -> list[Point]:
    """That many different points by chance (fewer where there are no more), the same for a seed."""
    generator = np.random.Generator(np.random.PCG64(seed))
    found: dict[tuple[str, ...], Point] = {}
    for _ in range(count * 20):
        point = {axis.name: _one(axis, generator) for axis in axes}
        found.setdefault(tuple(point.values()), point)
        if len(found) == count:
            break
    return list(found.values())


def _one(axis: Axis, generator: np.random.Generator) -> str:
    if isinstance(axis, Choices):
        return axis.values[int(generator.integers(len(axis.values)))]
    return number_text(float(generator.uniform(axis.low, axis.high)))


def number_text(value: float) -> str:
    """With DIGITS digits that count."""
    return f"{Decimal(f'{value:.{DIGITS}g}'):f}"


def size(axes: Sequence[Axis]) -> int | None:
    """Points of the space; None where it has no end."""
    counts = [len(axis.values) for axis in axes if isinstance(axis, Choices)]
    return int(np.prod(counts)) if len(counts) == len(axes) else None


def key_of(point: Mapping[str, str]) -> str:
    """Of a point, whatever the order of its parameters."""
    return ",".join(f"{name}={point[name]}" for name in sorted(point))
