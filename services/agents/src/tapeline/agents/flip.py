"""A group that holds a fixed quantity on one side or the other, and flips it by market orders.

    LONG  -> +quantity       SHORT -> -quantity       FLAT -> nothing

In:  Cycle.   Out: ORDER decisions.
Invariants: the first side found is noted and places no order, for it may be an old one; each later
change is one order from the position last asked for to the new one: `quantity` first, then twice.

It reads one trigger, the one with the greatest weight. It orders what it wants and does not look at
what it got: what risk denies is missing until the next change.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from tapeline.agents.group import Cycle, GroupResult, GroupSetup, decision_id
from tapeline.agents.plugins import converted
from tapeline.contracts.agents import Decision, DecisionKind, Direction
from tapeline.contracts.frozen import acyclic, quick
from tapeline.contracts.orders import OrderType, Side, TimeInForce

SIGNS: Final = {Direction.LONG: 1, Direction.SHORT: -1, Direction.FLAT: 0}
SIDE: Final = "/side"
"""What is noted under instrument_id is the position asked for; with this behind it, the side."""
WORDS: Final = {1: "long", -1: "short", 0: "flat"}


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class FlipParameters:
    """Parameters of the config record."""

    quantity: Decimal
    """held on either side, units"""
    cycle_interval_ns: int = 0
    """read by the stage"""

    def __post_init__(self) -> None:
        if not self.quantity > 0:
            raise ValueError("quantity must be above 0")


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """Where the group stands on an instrument."""

    side: int | None = None
    """+1, -1, 0; None: none has been found yet"""
    position: Decimal = Decimal(0)
    """signed, as last asked for"""


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A change of side."""

    instrument_id: str
    side: int
    price: float
    """the group looked at"""


class FlipGroup:
    """Pure: a cycle decides, nothing else."""

    def __init__(self, setup: GroupSetup) -> None:
        """Raises ValueError or BadConfig for parameters that are wrong."""
        subject = f"Group {setup.group.group_id}"
        if "quantity" not in setup.group.parameters:
            raise ValueError("the parameter quantity is missing")
        values = converted(FlipParameters, setup.group.parameters, (), subject)
        self._quantity: Decimal = FlipParameters(**values).quantity
        self._setup = setup
        weights = setup.group.trigger_weights
        self._trigger = max(sorted(weights), key=lambda name: weights[name], default="")

    async def decide(self, cycle: Cycle) -> GroupResult:
        """One decision for each instrument whose side changes."""
        return self.result_of(cycle)

    def result_of(self, cycle: Cycle) -> GroupResult:
        """The same for callers without a loop."""
        decisions: list[Decision] = []
        noted: dict[str, Decimal] = {}
        causes: dict[str, str] = {}
        for signal in cycle.signals:
            if signal.trigger != self._trigger or signal.instrument_id == "":
                continue
            name = signal.instrument_id
            turn = Turn(instrument_id=name, side=SIGNS[signal.direction], price=signal.price)
            after, decision = self.turned(_stand(cycle, name), turn, cycle, len(decisions))
            noted |= _notes(name, after)
            if decision is not None:
                decisions.append(decision)
                causes[decision.decision_id] = signal.signal_id
        return GroupResult(decisions=tuple(decisions), causes=causes, noted=noted)

    def turned(
        self, stand: Stand, turn: Turn, cycle: Cycle, index: int = 0
    ) -> tuple[Stand, Decision | None]:
        """Where the group stands after a side was found, and its order if there is one."""
        if turn.side == stand.side or (stand.side is None and turn.side == 0):
            return stand, None
        if stand.side is None:
            return Stand(side=turn.side, position=stand.position), None
        position = turn.side * self._quantity
        change = position - stand.position
        after = Stand(side=turn.side, position=position)
        if not change:
            return after, None
        return after, self._order(turn, change, cycle, index)

    def _order(self, turn: Turn, change: Decimal, cycle: Cycle, index: int) -> Decision:
        return Decision(
            decision_id=decision_id(self._setup.run_id, cycle, index),
            account_id=self._setup.account.account_id,
            group_id=cycle.group_id,
            cycle_ns=cycle.cycle_ns,
            index=index,
            kind=DecisionKind.ORDER,
            instrument_id=turn.instrument_id,
            side=Side.BUY if change > 0 else Side.SELL,
            quantity=abs(change),
            order_type=OrderType.MARKET,
            time_in_force=TimeInForce.GTC,
            # Nothing may be opened on the way to nothing.
            is_reduce_only=turn.side == 0,
            is_post_only=False,
            # A side is taken whole or not at all.
            confidence=1.0,
            reference_price=turn.price,
            model="",
            is_offline_model=False,
            reason=f"{self._trigger} has turned {WORDS[turn.side]}.",
            ts_event_ns=cycle.cycle_ns,
            ts_init_ns=cycle.cycle_ns,
        )


def _stand(cycle: Cycle, name: str) -> Stand:
    side = cycle.targets.get(name + SIDE)
    return Stand(
        side=None if side is None else int(side), position=cycle.targets.get(name, Decimal(0))
    )


def _notes(name: str, stand: Stand) -> dict[str, Decimal]:
    if stand.side is None:
        return {}
    return {name: stand.position, name + SIDE: Decimal(stand.side)}
