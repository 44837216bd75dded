"""A plain algorithmic group: the best opinion on each instrument decides its target weight.

    score  = weight of the trigger x confidence x |expected return| x liquidity
    target = target weight of the group x confidence of the winner, signed by its direction

In:  Cycle.   Out: TARGET_WEIGHT decisions.
Invariants: a trigger without weight has no say; an opinion on the whole universe counts for every
instrument; without a winner, or where it is FLAT, an earlier target goes to 0; a target is told
only when it moves by more than the band, or to 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from typing import Final

from tapeline.agents.group import Cycle, GroupResult, GroupSetup, TargetWish, target_decision
from tapeline.agents.plugins import converted
from tapeline.contracts.agents import Decision, Direction, Signal

WEIGHT_STEP: Final = Decimal("0.000001")
EXACT: Final = Context(prec=76, rounding=ROUND_HALF_EVEN)
SIGNS: Final = {Direction.LONG: 1, Direction.SHORT: -1, Direction.FLAT: 0}
ZERO: Final = Decimal("0.000000")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlgorithmicParameters:
    """Parameters of the config record."""

    band: Decimal = Decimal("0.005")
    """smallest change of a target that is told, share of NAV"""
    allows_short: bool = True
    """false: a short opinion is a target of 0"""
    stop_loss: Decimal | None = None
    """distance of the protective level from the price, fraction; None: no level"""
    take_profit: Decimal | None = None
    """likewise"""
    cycle_interval_ns: int = 0
    """read by the stage"""

    def __post_init__(self) -> None:
        if self.band < 0:
            raise ValueError("band must not be negative")
        for name in ("stop_loss", "take_profit"):
            distance: Decimal | None = getattr(self, name)
            if distance is not None and not 0 < distance < 1:
                raise ValueError(f"{name} must be between 0 and 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What wins on an instrument."""

    target_weight: Decimal
    winner: Signal | None
    score: float


class AlgorithmicGroup:
    """Pure: a cycle decides, nothing else."""

    def __init__(self, setup: GroupSetup) -> None:
        """Raises ValueError or BadConfig for parameters that are wrong."""
        subject = f"Group {setup.group.group_id}"
        values = converted(AlgorithmicParameters, setup.group.parameters, (), subject)
        self._parameters = AlgorithmicParameters(**values)
        self._setup = setup

    async def decide(self, cycle: Cycle) -> GroupResult:
        """One decision for each instrument whose target moves."""
        decisions: list[Decision] = []
        causes: dict[str, str] = {}
        for instrument_id in sorted(set(self._setup.group.instruments)):
            choice = self.choice(cycle.opinions, instrument_id)
            held = cycle.targets.get(instrument_id, ZERO)
            if not has_moved(held, choice.target_weight, self._parameters.band):
                continue
            wish = self._wish(cycle, instrument_id, choice)
            decision = target_decision(self._setup, cycle, len(decisions), wish)
            decisions.append(decision)
            if choice.winner is not None:
                causes[decision.decision_id] = choice.winner.signal_id
        return GroupResult(decisions=tuple(decisions), causes=causes)

    def choice(self, opinions: Sequence[Signal], instrument_id: str) -> Choice:
        """The best opinion on an instrument and the target that follows."""
        about = [item for item in opinions if item.instrument_id in (instrument_id, "")]
        ranked = sorted(about, key=lambda item: (-self.score(item), item.trigger, item.signal_id))
        if not ranked or self.score(ranked[0]) == 0.0:
            return Choice(target_weight=ZERO, winner=None, score=0.0)
        winner = ranked[0]
        sign = SIGNS[winner.direction]
        if sign < 0 and not self._parameters.allows_short:
            sign = 0
        target = signed_weight(self._setup.group.target_weight, winner.confidence, sign)
        return Choice(target_weight=target, winner=winner, score=self.score(winner))

    def score(self, signal: Signal) -> float:
        """weight x confidence x |expected return| x liquidity; 0 without weight."""
        weight = self._setup.group.trigger_weights.get(signal.trigger, 0.0)
        return weight * signal.confidence * abs(signal.expected_return) * signal.liquidity

    def _wish(self, cycle: Cycle, instrument_id: str, choice: Choice) -> TargetWish:
        price = last_price(cycle.opinions, instrument_id)
        take_profit, stop_loss = self._levels(instrument_id, choice.target_weight, price)
        winner = choice.winner
        return TargetWish(
            instrument_id=instrument_id,
            target_weight=choice.target_weight,
            # Nothing speaks for the position any more; that is certain, not doubtful.
            confidence=1.0 if winner is None else winner.confidence,
            reference_price=price,
            reason=_reason(choice),
            take_profit_price=take_profit,
            stop_loss_price=stop_loss,
        )

    def _levels(
        self, instrument_id: str, target: Decimal, price: float
    ) -> tuple[Decimal | None, Decimal | None]:
        """(take profit, stop loss) on the sides of the price where they belong."""
        instrument = self._setup.instruments.get(instrument_id)
        if target == 0 or price <= 0.0 or instrument is None:
            return None, None
        sign = 1 if target > 0 else -1
        tick_size = instrument.tick_size
        profit, loss = self._parameters.take_profit, self._parameters.stop_loss
        return (
            None if profit is None else level_price(price, sign * profit, tick_size),
            None if loss is None else level_price(price, -sign * loss, tick_size),
        )


def has_moved(held: Decimal, wanted: Decimal, band: Decimal) -> bool:
    """By more than the band, or from something to nothing."""
    return wanted != held and (wanted == 0 or abs(wanted - held) > band)


def last_price(opinions: Sequence[Signal], instrument_id: str) -> float:
    """Price of the newest opinion on the instrument, 0 where there is none."""
    told = [item for item in opinions if item.instrument_id == instrument_id and item.price > 0.0]
    newest = max(told, key=lambda item: (item.ts_event_ns, item.signal_id), default=None)
    return 0.0 if newest is None else newest.price


def signed_weight(target_weight: Decimal, confidence: float, sign: int) -> Decimal:
    """target weight x confidence x sign, rounded as weights are."""
    with localcontext(EXACT):
        return round_weight(target_weight * Decimal(repr(confidence)) * sign)


def round_weight(weight: Decimal) -> Decimal:
    """To 6 decimals, ties to even; never minus zero."""
    rounded = weight.quantize(WEIGHT_STEP, context=EXACT)
    return ZERO if rounded == 0 else rounded


def level_price(price: float, distance: Decimal, tick_size: Decimal) -> Decimal:
    """A price away by a signed fraction, rounded to the nearest tick, ties to even."""
    with localcontext(EXACT):
        wanted = Decimal(repr(price)) * (1 + distance)
        return (wanted / tick_size).to_integral_value(ROUND_HALF_EVEN) * tick_size


def _reason(choice: Choice) -> str:
    if choice.winner is None:
        return "No opinion speaks for the position any more."
    winner = choice.winner
    return (
        f"{winner.trigger} says {winner.direction} with score {choice.score:.3g}: {winner.reason}"
    )
