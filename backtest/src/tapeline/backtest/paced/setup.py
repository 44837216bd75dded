"""What a paced run needs to know before its first slice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tapeline.agents.config_book import ConfigBook, book_of
from tapeline.agents.groups_stage import Outside
from tapeline.backtest.paced.interventions import Intervention, Word, during
from tapeline.contracts import topics
from tapeline.contracts.config import GroupKind, TradingGroup
from tapeline.contracts.market import FundingRate, MacroReading, Quote, Trade
from tapeline.execution.core import ExecutionCore
from tapeline.risk.core import RiskCore
from tapeline.runtime.core import Context, MoneyCore

MakeCore = Callable[[Context], MoneyCore[Any]]


MONEY_CORES: Mapping[str, MakeCore] = {"risk": RiskCore, "execution": ExecutionCore}


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A record that is there before the run: configuration, or an operator's word."""

    record: Any
    event_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """One run."""

    run_id: str
    config: tuple[Known, ...]
    """the topic config as it was at the start, in its order"""
    intervals_ns: tuple[int, ...]
    """lengths of the bars, ascending"""
    shards: tuple[int, ...] = (0,)
    instrument_partitions: int = 1
    signals_partitions: int = 1
    feed: str = ""
    mode: str = "PAPER"
    """under every approval; a backtest keeps the mode of what it repeats, so that it can be equal
    to the byte"""
    outside: Mapping[str, Outside] = field(default_factory=dict)
    """group -> where its answers come from, for groups of language models"""
    money_cores: Mapping[str, MakeCore] = field(default_factory=lambda: MONEY_CORES)
    interventions: tuple[Intervention, ...] = ()
    """what a recorded run was told besides"""

    @property
    def records(self) -> list[Any]:
        """The configuration: that of the start, then what came later, each once a shard."""
        return [known.record for known in self.config] + [word.event.record for word in self._later]

    @property
    def _later(self) -> list[Word]:
        return [
            item
            for item in self.interventions
            if isinstance(item, Word) and item.event.topic == topics.CONFIG
        ]

    def with_records(self, records: Sequence[Any]) -> Setup:
        """The same with another configuration, record by record."""
        count = len(self.config)
        config = tuple(
            replace(known, record=record)
            for known, record in zip(self.config, records[:count], strict=True)
        )
        later = iter(records[count:])
        interventions = tuple(
            replace(item, event=replace(item.event, record=next(later)))
            if isinstance(item, Word) and item.event.topic == topics.CONFIG
            else item
            for item in self.interventions
        )
        return replace(self, config=config, interventions=interventions)

    def during(self, choice: Choice) -> Setup:
        """The same for a part of the time."""
        kept = during(self.interventions, choice.start_ns, choice.end_ns)
        return replace(self, interventions=kept)

    def book(self) -> ConfigBook:
        """The configuration, newest versions."""
        return book_of(self.records)

    def groups(self) -> list[TradingGroup]:
        """The groups that decide by themselves, by id."""
        found = self.book().groups
        return [
            found[name]
            for name in sorted(found)
            if found[name].is_enabled and found[name].kind is not GroupKind.MANUAL
        ]


@dataclass(frozen=True, slots=True)
class MacroInput:
    """A macro reading, or a funding rate, under its id."""

    record: MacroReading | FundingRate
    event_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketSlice:
    """What the market says in one slice of event time."""

    number: int
    """from 1, without holes"""
    end_ns: int
    is_final: bool = False
    ticks: Mapping[int, Sequence[Trade | Quote]]
    """by partition, in the order of their topic"""
    macro: Sequence[MacroInput] = ()
    funding: Sequence[MacroInput] = ()

    @property
    def count(self) -> int:
        """Records in it."""
        return sum(map(len, self.ticks.values())) + len(self.macro) + len(self.funding)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which part of the data is played."""

    start_ns: int = 0
    """event time; what was before is left out"""
    end_ns: int = 2**63 - 1
    """what is at or behind it is left out"""
    instruments: frozenset[str] = frozenset()
    """empty: all. Macro readings are always played."""

    def is_played(self, ts_event_ns: int, instrument_id: str = "") -> bool:
        """Whether a record belongs to it; `instrument_id` is empty for a macro reading."""
        if not self.start_ns <= ts_event_ns < self.end_ns:
            return False
        return not self.instruments or not instrument_id or instrument_id in self.instruments


ALL = Choice()
