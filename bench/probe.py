"""The probe group: decides on every k-th tick, over the two hops of the real chain.

`python -m bench.probe K` runs ticks -> signals and signals -> decisions as one service of derived
streams. The scheduled send time of a tick goes with it as ts_event_ns of signal and decision.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import ClassVar

from bench.records import ACCOUNT, GROUP
from tapeline.contracts import topics
from tapeline.contracts.agents import Decision, DecisionKind, Direction, Signal
from tapeline.contracts.market import Trade
from tapeline.contracts.orders import OrderType, Side, TimeInForce
from tapeline.runtime.core import Input, Output, Stage
from tapeline.runtime.derived import run_stages
from tapeline.runtime.ids import derive_id
from tapeline.runtime.settings import ServiceSettings, load_settings, main_guard


class ProbeSettings(ServiceSettings):
    """Those of the agents, whose place it takes."""

    service: ClassVar[str] = "agents"


class _Stage:
    """What both hops share: they keep nothing."""

    state_topic: str | None = None

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id

    def restore(self, topic: str, partition: int, committed: int, kept: Sequence[Input]) -> int:
        """Nothing is kept."""
        return committed

    def checkpoint(self, topic: str, partition: int) -> Iterable[Output]:
        """Nothing."""
        return ()

    def low_water(self, topic: str, partition: int, position: int) -> int:
        """Nothing behind the position."""
        return position

    def is_warm(self) -> bool:
        """Always."""
        return True


class TicksToSignals(_Stage):
    """A signal for every k-th tick, long and short in turn."""

    name = "trigger.probe"
    input_topics: tuple[str, ...] = (topics.TICKS,)

    def __init__(self, run_id: str, every: int) -> None:
        super().__init__(run_id)
        self._every = every

    async def step(self, topic: str, partition: int, events: Sequence[Input]) -> Iterable[Output]:
        """Signals of a batch."""
        return [
            self._signal(event)
            for event in events
            if isinstance(event.record, Trade) and event.record.feed_sequence % self._every == 0
        ]

    def _signal(self, event: Input) -> Output:
        tick: Trade = event.record
        signal_id = derive_id(self._run_id, "trigger/probe", event.event_id, "Signal")
        turn = tick.feed_sequence // self._every // 10 % 2
        record = Signal(
            signal_id=signal_id,
            trigger="probe",
            universe="main",
            instrument_id=tick.instrument_id,
            direction=Direction.SHORT if turn else Direction.LONG,
            confidence=0.9,
            expected_return=0.01,
            liquidity=1.0,
            horizon_ns=1_000_000_000,
            price=tick.price,
            reason="every k-th tick",
            features={},
            ts_event_ns=tick.ts_init_ns,
            ts_init_ns=event.session_ns,
        )
        return Output(
            topic=topics.SIGNALS,
            key=tick.instrument_id,
            record=record,
            event_id=signal_id,
            partition=0,
            causation_id=event.event_id,
        )


class SignalsToDecisions(_Stage):
    """An explicit order of one unit for every signal."""

    name = "group.probe"
    input_topics: tuple[str, ...] = (topics.SIGNALS,)

    async def step(self, topic: str, partition: int, events: Sequence[Input]) -> Iterable[Output]:
        """Decisions of a batch."""
        return [self._decision(event) for event in events if isinstance(event.record, Signal)]

    def _decision(self, event: Input) -> Output:
        signal: Signal = event.record
        decision_id = derive_id(self._run_id, "group/probe", event.event_id, "Decision")
        record = Decision(
            decision_id=decision_id,
            account_id=ACCOUNT,
            group_id=GROUP,
            cycle_ns=signal.ts_event_ns,
            index=0,
            kind=DecisionKind.ORDER,
            instrument_id=signal.instrument_id,
            side=Side.BUY if signal.direction is Direction.LONG else Side.SELL,
            quantity=Decimal(1),
            order_type=OrderType.MARKET,
            time_in_force=TimeInForce.GTC,
            is_reduce_only=False,
            is_post_only=False,
            confidence=signal.confidence,
            reference_price=signal.price,
            model="",
            is_offline_model=False,
            reason="every k-th tick",
            ts_event_ns=signal.ts_event_ns,
            ts_init_ns=signal.ts_init_ns,
        )
        return Output(
            topic=topics.DECISIONS,
            key=ACCOUNT,
            record=record,
            event_id=decision_id,
            partition=0,
            causation_id=event.event_id,
        )


def _run(every: int) -> int:
    settings = load_settings(ProbeSettings)
    stages: list[Stage] = [
        TicksToSignals(settings.run_id, every),
        SignalsToDecisions(settings.run_id),
    ]
    return run_stages(stages, settings, "agents-probe")


if __name__ == "__main__":
    sys.exit(main_guard(lambda: _run(int(sys.argv[1]))))
