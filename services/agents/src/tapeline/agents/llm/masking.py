"""What a model shall not recognise when it is tested on the past: instruments, dates, price levels.

Names become ASSET-1, ASSET-2 ... in the order of the group's config record, dates a number of days
that only tells them apart, prices and what triggers say in words are left out. The VIX stays: the
regime is told anyway. Answers come back under the real names. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from tapeline.agents.group import Cycle
from tapeline.agents.llm.answers import AnalystAnswer, Answer, Invalid, PortfolioAnswer

DAY_NS: Final = 86_400_000_000_000
SECOND_NS: Final = 1_000_000_000
SHIFT_MAX: Final = 100_000
"""days; more than any market is old"""
KEPT_OF_SIGNALS: Final = ("direction", "confidence", "expected_return")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """Stand-ins of one group; without names it changes nothing."""

    names: Mapping[str, str] = field(default_factory=dict)
    """instrument_id -> stand-in"""
    shift_days: int = 0

    def name(self, instrument_id: str) -> str:
        """What a prompt calls an instrument."""
        return self.names.get(instrument_id, instrument_id)

    def masked(self, figures: Mapping[str, Any], cycle: Cycle) -> Mapping[str, Any]:
        """The figures of a prompt as the model may see them."""
        if not self.names:
            return figures
        found = {**figures, "as_of": self._time(cycle)}
        if "instrument_id" in figures:
            found["instrument_id"] = self.name(figures["instrument_id"])
            found["price"] = None
            found["signals"] = [
                {key: signal[key] for key in KEPT_OF_SIGNALS} for signal in figures["signals"]
            ]
        if "analysts" in figures:
            found["analysts"] = [
                {**report, "instrument_id": self.name(report["instrument_id"])}
                for report in figures["analysts"]
            ]
        return found

    def parser(self, parse: Callable[[str], Answer | Invalid]) -> Callable[[str], Answer | Invalid]:
        """A parser of answers under stand-ins that gives them under the real names."""
        if not self.names:
            return parse
        real = {stand_in: name for name, stand_in in self.names.items()}

        def unmasked(text: str) -> Answer | Invalid:
            answer = parse(text)
            if isinstance(answer, AnalystAnswer):
                return answer.model_copy(update={"instrument_id": real[answer.instrument_id]})
            if isinstance(answer, PortfolioAnswer):
                weights = [
                    weight.model_copy(update={"instrument_id": real[weight.instrument_id]})
                    for weight in answer.weights
                ]
                return answer.model_copy(update={"weights": weights})
            return answer

        return unmasked

    def _time(self, cycle: Cycle) -> str:
        day, in_day_ns = divmod(cycle.cycle_ns, DAY_NS)
        minutes = in_day_ns // (60 * SECOND_NS)
        return f"day {day + self.shift_days}, {minutes // 60:02d}:{minutes % 60:02d} UTC"


NO_MASK: Final = Mask()


def mask_of(run_id: str, instruments: Sequence[str]) -> Mask:
    """Stand-ins of a group's instruments; the same run always has the same."""
    shift = int.from_bytes(sha256(run_id.encode()).digest()[:4], "big") % SHIFT_MAX
    names = {name: f"ASSET-{number}" for number, name in enumerate(instruments, start=1)}
    return Mask(names=names, shift_days=shift)
