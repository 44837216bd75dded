"""One limit as a budget for the part of an order that opens."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from tapeline.accounting.numbers import (
    ONE,
    ZERO,
    bounded,
    converted,
    divide_down,
    divide_rounded,
    product,
)
from tapeline.contracts.frozen import acyclic
from tapeline.contracts.risk import DenialCode
from tapeline.risk.question import Refusal


def holds(quantity: Decimal, cost: Decimal, room: Decimal) -> bool:
    """Whether a quantity fits: quantity x cost <= room. A quantity of at most 18 decimals fits just
    when it is not above the room in units (Bound.room), which takes a division to find out."""
    return product(quantity, cost) <= room


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """used + quantity x cost <= allowed."""

    code: DenialCode
    reason: str
    used: Decimal
    allowed: Decimal
    cost: Decimal
    """of one unit"""
    limit: Decimal
    """as the configuration says it"""
    scale: Decimal | None = None
    """what the measured figure is a share of, such as NAV; None: it is shown as it is"""
    is_floor: bool = False
    """True: what is left is measured, not what is used"""

    def room(self) -> Decimal:
        """Largest quantity inside the limit."""
        return max(divide_down(self.allowed - self.used, self.cost), ZERO)

    def refusal(self, quantity: Decimal) -> Refusal:
        """What the whole quantity would have come to."""
        used = self.used + converted(quantity, self.cost)
        measured = used if self.scale is None else divide_rounded(used, self.scale)
        return Refusal(
            code=self.code,
            reason=self.reason,
            measured=bounded(ONE - measured if self.is_floor else measured),
            limit=self.limit,
        )
