"""Breakout: a close outside the Donchian channel of the bars before it, held until a shorter
channel breaks the other way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tapeline.agents.indicators import Donchian
from tapeline.agents.trigger import JsonState, Opinion, Reading, conviction, require
from tapeline.contracts.agents import Direction
from tapeline.contracts.market import Bar

SIGNS = {Direction.LONG: 1.0, Direction.SHORT: -1.0, Direction.FLAT: 0.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakoutState:
    """The bars of the entry channel, and the opinion that stands."""

    channel: Donchian
    direction: Direction = Direction.FLAT


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakout(JsonState[BreakoutState]):
    """Its confidence grows with the place of the close above (below) the channel's middle."""

    name: str
    interval_ns: int
    entry: int = 20
    """bars of the channel that opens an opinion"""
    exit: int = 10
    """bars of the channel that ends it"""
    horizon_bar_count: int = 5
    state_type: ClassVar[type] = BreakoutState

    def __post_init__(self) -> None:
        require(0 < self.exit <= self.entry <= 1000, "needs 0 < exit <= entry <= 1000")
        require(self.horizon_bar_count > 0, "horizon_bar_count must be above 0")

    def initial(self) -> BreakoutState:
        """No bars."""
        return BreakoutState(channel=Donchian.of(self.entry))

    def is_warm(self, state: BreakoutState) -> bool:
        """With `entry` bars behind it."""
        return state.channel.channel(self.entry) is not None

    def step(self, state: BreakoutState, reading: Reading) -> tuple[BreakoutState, Opinion | None]:
        """An opinion on every bar once warm; the bar is held to the channels before it."""
        if not isinstance(reading, Bar):
            return state, None
        channel = state.channel.push(reading.high, reading.low)
        entry = state.channel.channel(self.entry)
        leave = state.channel.channel(self.exit)
        if entry is None or leave is None:
            return BreakoutState(channel=channel), None
        direction = _direction(state.direction, reading.close, entry, leave)
        after = BreakoutState(channel=channel, direction=direction)
        return after, self._opinion(direction, reading.close, entry)

    def _opinion(self, direction: Direction, close: float, channel: tuple[float, float]) -> Opinion:
        upper, lower = channel
        middle, half_width = (upper + lower) / 2.0, (upper - lower) / 2.0
        place = 0.0 if half_width == 0.0 else (close - middle) / half_width
        sign = SIGNS[direction]
        strength = min(max(sign * place, 0.0), 1.0)
        return Opinion(
            direction=direction,
            confidence=0.0 if direction is Direction.FLAT else conviction(strength),
            expected_return=sign * strength * half_width / close,
            horizon_ns=self.horizon_bar_count * self.interval_ns,
            reason=f"Close is at {place:+.2f} of the {self.entry}-bar channel.",
            features={"channel_upper": upper, "channel_lower": lower, "channel_place": place},
        )


def _direction(
    standing: Direction, close: float, entry: tuple[float, float], leave: tuple[float, float]
) -> Direction:
    if close > entry[0]:
        return Direction.LONG
    if close < entry[1]:
        return Direction.SHORT
    is_left = (standing is Direction.LONG and close < leave[1]) or (
        standing is Direction.SHORT and close > leave[0]
    )
    return Direction.FLAT if is_left else standing
