"""Cycles, setups and call logs for tests of the LLM group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from tapeline.agents.group import CallLog, Cycle, GroupSetup
from tapeline.agents.llm.endpoint import Endpoint
from tapeline.contracts.agents import Direction, LlmCall, Signal
from tapeline.contracts.config import Account, GroupKind, TradingGroup
from tapeline.contracts.orders import Mode

RUN_ID = "run-1"
CYCLE_NS = 1_420_495_200_000_000_000
DAY_NS = 86_400_000_000_000
SPY, QQQ = "SPY.PAPER", "QQQ.PAPER"
RISING = {"return_20": 0.04, "rsi": 55.0, "volatility": 0.01, "sma_distance": 0.03}
FALLING = {"return_20": -0.06, "rsi": 40.0, "volatility": 0.02, "sma_distance": -0.04}
CALM = {"vix": 14.0, "momentum": 0.05}


def signal(
    instrument_id: str,
    features: Mapping[str, float],
    *,
    trigger: str = "market_summary",
    reason: str = "Figures.",
    ts_event_ns: int = CYCLE_NS,
) -> Signal:
    """An opinion on an instrument, "" for the whole market."""
    return Signal(
        signal_id=f"{trigger}/{instrument_id}",
        trigger=trigger,
        universe="default",
        instrument_id=instrument_id,
        direction=Direction.FLAT,
        confidence=0.0,
        expected_return=0.0,
        liquidity=1.0,
        horizon_ns=DAY_NS,
        price=0.0 if not instrument_id else 200.0,
        reason=reason,
        features=dict(features),
        ts_event_ns=ts_event_ns,
        ts_init_ns=ts_event_ns,
    )


def market(features: Mapping[str, float] = CALM) -> Signal:
    """An opinion on the whole market."""
    return signal("", features, trigger="market_regime")


def cycle(
    *opinions: Signal, targets: Mapping[str, Decimal] | None = None, number: int = 7
) -> Cycle:
    """A cycle in which all opinions are new; by default two instruments in a calm market."""
    given = opinions or (market(), signal(SPY, RISING), signal(QQQ, FALLING))
    return Cycle(
        group_id="llm",
        universe="default",
        cycle_ns=CYCLE_NS,
        slice=number,
        signals=given,
        opinions=tuple(sorted(given, key=lambda s: (s.trigger, s.instrument_id))),
        targets=targets or {},
    )


def setup(
    endpoint: Endpoint | None,
    *,
    instruments: Sequence[str] = (SPY, QQQ),
    call_log: CallLog | None = None,
    parameters: Mapping[str, str] | None = None,
) -> GroupSetup:
    """A setup of the group `llm` with 4 % of NAV an instrument."""
    group = TradingGroup(
        group_id="llm",
        kind=GroupKind.LLM,
        implementation="llm",
        account_id="paper-1",
        universe="default",
        instruments=tuple(instruments),
        trigger_weights={},
        target_weight=Decimal("0.04"),
        parameters=dict(parameters or {}),
        is_enabled=True,
        version=1,
    )
    account = Account(
        account_id="paper-1",
        shard=0,
        base_currency="USD",
        initial_cash=Decimal(100_000),
        venue="PAPER",
        mode=Mode.PAPER,
        version=1,
    )
    return GroupSetup(run_id=RUN_ID, group=group, account=account, call_log=call_log, llm=endpoint)


class MemoryCallLog:
    """The topic llm-calls as a list; `crash_after` makes it fail after so many acknowledgements."""

    def __init__(self, crash_after: int | None = None) -> None:
        self.calls: list[LlmCall] = []
        self.crash_after = crash_after

    async def record(self, call: LlmCall) -> None:
        """Keeps the call."""
        self.calls.append(call)
        if self.crash_after is not None and len(self.calls) >= self.crash_after:
            raise ProcessKilled

    async def recorded(self, group_id: str, cycle_ns: int) -> Sequence[LlmCall]:
        """Calls of a cycle, oldest first."""
        return [c for c in self.calls if (c.group_id, c.cycle_ns) == (group_id, cycle_ns)]


class ProcessKilled(Exception):
    """Stands for the end of the process."""


class HandClock:
    """A clock that moves only when told; `pause` moves it."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.pauses_s: list[float] = []

    def wall_ns(self) -> int:
        """Nanoseconds UTC."""
        return round(self.now_s * 1e9)

    def monotonic_s(self) -> float:
        """Seconds."""
        return self.now_s

    async def pause(self, seconds: float) -> None:
        """Passes at once."""
        self.pauses_s.append(seconds)
        self.now_s += seconds
