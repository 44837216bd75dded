"""What the options of `tapeline order` ask for, as the fields of a decision."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from tapeline.cli.configuration import DURATION, UNITS_NS
from tapeline.contracts.orders import Algorithm, OrderType
from tapeline.runtime.exits import Failure

SLICES: Final = 12
"""Where neither slices nor a profile are given."""


class BadOrder(Failure):
    """An argument makes no sense."""

    exit_code = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The options as texts; empty where they were not given."""

    limit: str = ""
    stop: str = ""
    take_profit: str = ""
    stop_loss: str = ""
    algorithm: str = ""
    over: str = ""
    slices: int = 0
    visible: str = ""
    profile: str = ""

    def fields(self) -> dict[str, Any]:
        """Type, prices, levels and algorithm; raises BadOrder. A VWAP order without a profile gets
        its own from the bars (see `slice_count`)."""
        algorithm = self._algorithm()
        return {
            "order_type": self._order_type(),
            "limit_price": optional(self.limit, "limit"),
            "stop_price": optional(self.stop, "stop"),
            "take_profit_price": optional(self.take_profit, "take-profit"),
            "stop_loss_price": optional(self.stop_loss, "stop-loss"),
            "algorithm": algorithm,
            "duration_ns": self._duration_ns(algorithm),
            "slice_count": self.slice_count if algorithm is Algorithm.TWAP else None,
            "visible_quantity": self._visible(algorithm),
            "volume_profile": self._profile(algorithm),
        }

    @property
    def slice_count(self) -> int:
        """How many slices TWAP and VWAP have."""
        if self.slices and not 2 <= self.slices <= 100:
            raise BadOrder(f"{self.slices} slices are not possible.", "Write 2 to 100.")
        return self.slices or SLICES

    def _order_type(self) -> OrderType:
        if self.stop:
            return OrderType.STOP_LIMIT if self.limit else OrderType.STOP_MARKET
        return OrderType.LIMIT if self.limit else OrderType.MARKET

    def _algorithm(self) -> Algorithm:
        name = self.algorithm.upper()
        if not name:
            for option in ("over", "visible", "profile", "slices"):
                if getattr(self, option):
                    raise BadOrder(
                        f"--{option} is for algorithms.", "Add --algorithm twap, vwap or iceberg."
                    )
            return Algorithm.NONE
        if name not in ("TWAP", "VWAP", "ICEBERG"):
            raise BadOrder(f"{self.algorithm!r} is no algorithm.", "Write twap, vwap or iceberg.")
        if self.take_profit or self.stop_loss:
            raise BadOrder(
                "An order is worked in slices or has protective levels, not both.",
                "Leave out one of them.",
            )
        return Algorithm(name)

    def _duration_ns(self, algorithm: Algorithm) -> int | None:
        if not self.over:
            if algorithm in (Algorithm.TWAP, Algorithm.VWAP):
                raise BadOrder(f"{algorithm.value} needs a duration.", "Add --over, such as 1h.")
            return None
        match = DURATION.match(self.over)
        if match is None:
            raise BadOrder(f"{self.over!r} is no duration.", "Write 90s, 30m, 4h or 1d.")
        return int(Decimal(match[1]) * UNITS_NS[match[2]])

    def _visible(self, algorithm: Algorithm) -> Decimal | None:
        if algorithm is not Algorithm.ICEBERG:
            return None
        if not self.visible or not self.limit:
            raise BadOrder(
                "An iceberg needs a limit and a visible part.", "Add --limit and --visible."
            )
        return number(self.visible, "visible")

    def _profile(self, algorithm: Algorithm) -> tuple[Decimal, ...]:
        if algorithm is not Algorithm.VWAP or not self.profile:
            return ()
        return tuple(volume(part) for part in self.profile.split(","))


def optional(text: str, name: str) -> Decimal | None:
    """A positive decimal, or None for an empty text."""
    return number(text, name) if text else None


def number(text: str, name: str) -> Decimal:
    """A positive decimal."""
    value = _decimal(text)
    if value is None or value <= 0:
        raise BadOrder(f"The {name} {text!r} is not a positive number.", "Correct it.")
    return value


def volume(text: str) -> Decimal:
    """A part of a profile: a number that is not negative."""
    value = _decimal(text)
    if value is None or value < 0:
        raise BadOrder(
            f"{text!r} is no volume.", "Write numbers such as --profile 5,2,1,4, one a slice."
        )
    return value


def _decimal(text: str) -> Decimal | None:
    try:
        value = Decimal(text.strip())
    except InvalidOperation:
        return None
    return value if value.is_finite() else None
