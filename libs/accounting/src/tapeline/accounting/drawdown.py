"""Losses from the peak and since the start of the day."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from tapeline.accounting.numbers import exact
from tapeline.contracts.frozen import acyclic, replace

DAY_NS: Final = 86_400_000_000_000


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class EquityCurve:
    """The few points of an account's NAV that limits are measured from."""

    peak: Decimal
    """highest NAV observed"""
    day_start: Decimal
    """last NAV observed before the UTC day began"""
    last: Decimal
    """last NAV observed"""
    day: int
    """days since 1970-01-01 UTC"""

    def observe(self, nav: Decimal, now_ns: int) -> EquityCurve:
        """After NAV was `nav` at `now_ns`; a new day starts from the last NAV of an older one."""
        day = max(self.day, now_ns // DAY_NS)
        day_start = self.last if day > self.day else self.day_start
        return EquityCurve(peak=max(self.peak, nav), day_start=day_start, last=nav, day=day)

    @exact
    def shift(self, amount: Decimal) -> EquityCurve:
        """After a deposit or withdrawal: money that moved is neither profit nor loss."""
        return replace(
            self,
            peak=self.peak + amount,
            day_start=self.day_start + amount,
            last=self.last + amount,
        )

    @exact
    def drawdown(self, nav: Decimal) -> Decimal:
        """Loss from the peak at `nav`, never negative."""
        return max(self.peak, nav) - nav

    @exact
    def daily_loss(self, nav: Decimal, now_ns: int) -> Decimal:
        """Loss since the start of the UTC day of `now_ns`, negative for a profit."""
        return self.day_start_at(now_ns) - nav

    def day_start_at(self, now_ns: int) -> Decimal:
        """NAV at the start of the UTC day of `now_ns`."""
        return self.last if now_ns // DAY_NS > self.day else self.day_start


def curve_from(nav: Decimal, now_ns: int) -> EquityCurve:
    """The curve of an account that starts now."""
    return EquityCurve(peak=nav, day_start=nav, last=nav, day=now_ns // DAY_NS)
