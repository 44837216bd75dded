"""The contract of a trading group: a cycle of signals in, decisions out.

It is the same for plain algorithms and for groups of language models. The stage closes cycles,
keeps what the group has asked for so far and sends what it returns; the group only decides.

Rules a group keeps:
- The same cycle gives the same decisions, byte for byte, also after a crash in its middle. A plain
  algorithm is pure. A group that asks outside parties records each answer under a derived id
  before it uses it, and reads it back when it meets the cycle again.
- Times come from the cycle, ids from `decision_id`, never from a clock or a generator.

A group is made by the entry point (group "tapeline.groups") that its config record names:
`factory(setup: GroupSetup) -> Group`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, Protocol, runtime_checkable

from tapeline.agents.llm.endpoint import Endpoint
from tapeline.contracts.agents import AgentMessage, Decision, DecisionKind, LlmCall, Signal
from tapeline.contracts.config import Account, Instrument, TradingGroup
from tapeline.contracts.frozen import acyclic, quick
from tapeline.contracts.orders import OrderType, TimeInForce
from tapeline.runtime.ids import derive_id

ENTRY_POINTS: Final = "tapeline.groups"


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Cycle:
    """What a group decides on: the opinions of its universe when a slice was complete."""

    group_id: str
    universe: str
    cycle_ns: int
    """end of the slice that closed it, nanoseconds UTC; the only clock a group knows"""
    slice: int
    """number of that slice"""
    signals: tuple[Signal, ...]
    """new since the last cycle, the latest of each (trigger, instrument_id), sorted by
    (ts_event_ns, trigger, instrument_id, signal_id)"""
    opinions: tuple[Signal, ...]
    """the latest of each (trigger, instrument_id) that still holds (its horizon has not ended),
    the new ones included, sorted by (trigger, instrument_id)"""
    targets: Mapping[str, Decimal]
    """target weight last asked for by this group, by instrument_id; no entry: none yet. With it
    what the group has `noted`"""

    @property
    def cause_id(self) -> str:
        """Under which the ids of everything made in this cycle are derived."""
        return f"cycle/{self.universe}/{self.cycle_ns}"


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class GroupResult:
    """What a group makes of a cycle."""

    decisions: tuple[Decision, ...] = ()
    """index 0, 1, 2 ... in this order; made with `target_decision` or with ids of `decision_id`"""
    messages: tuple[AgentMessage, ...] = ()
    llm_calls: tuple[LlmCall, ...] = ()
    """calls that are not on their topic yet; what went through the call log is not repeated"""
    causes: Mapping[str, str] = field(default_factory=dict)
    """signal_id that a decision follows from, by decision_id; where there is none, the stage
    takes the strongest opinion on the instrument"""
    noted: Mapping[str, Decimal] = field(default_factory=dict)
    """what a group that orders quantities wants to find under `Cycle.targets` from now on"""


class Group(Protocol):
    """Decides; one instance a group."""

    async def decide(self, cycle: Cycle) -> GroupResult:
        """Decisions of a cycle. An exception ends the process, and the cycle is met again."""
        ...


@runtime_checkable
class ClosableGroup(Protocol):
    """A group that holds something open, such as a connection."""

    async def close(self) -> None:
        """Called once, after the last cycle."""
        ...


class CallLog(Protocol):
    """The topic llm-calls, as a group of language models uses it."""

    async def record(self, call: LlmCall) -> None:
        """Returns when the broker has acknowledged it; only then may the answer be used."""
        ...

    async def recorded(self, group_id: str, cycle_ns: int) -> Sequence[LlmCall]:
        """Calls of a cycle that are on the topic already, the first of each id, oldest first."""
        ...


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSetup:
    """What a group is made of."""

    run_id: str
    group: TradingGroup
    """its config record: instruments, weights, parameters"""
    account: Account
    """the account it decides for"""
    instruments: Mapping[str, Instrument] = field(default_factory=dict)
    """records of the group's instruments, as far as config has them"""
    call_log: CallLog | None = None
    """None in tests and for groups that make no calls"""
    llm: Endpoint | None = None
    """model that groups of language models ask: tapeline.agents.llm.settings.endpoint_of(settings);
    None: none may be asked, as in a replay, where the call log has the answers"""


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class TargetWish:
    """A wanted weight, before it becomes a Decision."""

    instrument_id: str
    target_weight: Decimal
    """share of NAV, signed"""
    confidence: float
    """0 to 1"""
    reference_price: float
    """price the group looked at, 0 where there is none"""
    reason: str
    """one sentence"""
    take_profit_price: Decimal | None = None
    stop_loss_price: Decimal | None = None
    model: str = ""
    """model that took part, empty for plain algorithms"""
    is_offline_model: bool = False


def instance_of(group_id: str) -> str:
    """Name under which a group derives ids, names its watermarks and reports."""
    return f"group/{group_id}"


def decision_id(run_id: str, cycle: Cycle, index: int) -> str:
    """Id of the `index`-th decision of a cycle."""
    return derive_id(run_id, instance_of(cycle.group_id), cycle.cause_id, "Decision", index)


def target_decision(setup: GroupSetup, cycle: Cycle, index: int, wish: TargetWish) -> Decision:
    """A target weight, to be reached by a market order that works until it is filled."""
    return Decision(
        decision_id=decision_id(setup.run_id, cycle, index),
        account_id=setup.account.account_id,
        group_id=cycle.group_id,
        cycle_ns=cycle.cycle_ns,
        index=index,
        kind=DecisionKind.TARGET_WEIGHT,
        instrument_id=wish.instrument_id,
        target_weight=wish.target_weight,
        order_type=OrderType.MARKET,
        time_in_force=TimeInForce.GTC,
        # Nothing may be opened on the way to nothing.
        is_reduce_only=wish.target_weight == 0,
        is_post_only=False,
        take_profit_price=wish.take_profit_price,
        stop_loss_price=wish.stop_loss_price,
        confidence=wish.confidence,
        reference_price=wish.reference_price,
        model=wish.model,
        is_offline_model=wish.is_offline_model,
        reason=wish.reason,
        ts_event_ns=cycle.cycle_ns,
        ts_init_ns=cycle.cycle_ns,
    )
