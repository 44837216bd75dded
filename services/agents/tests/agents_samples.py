"""Records to test with, and a driver in memory that follows the rules of the Kafka one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from map_order import reversed_maps

from tapeline.agents.config_book import ConfigBook, book_of
from tapeline.contracts.agents import Direction, Signal
from tapeline.contracts.config import Account, AssetClass, GroupKind, Instrument, TradingGroup
from tapeline.contracts.config import Trigger as TriggerConfig
from tapeline.contracts.market import Bar, MacroReading, TickOrigin
from tapeline.contracts.orders import Mode
from tapeline.contracts.system import Watermark
from tapeline.runtime.codec import encode
from tapeline.runtime.core import Input, Output, Stage

DAY_NS = 86_400_000_000_000
SPX, IXIC = "SPX.INDEX", "IXIC.INDEX"
UNIVERSE = "main"


def bar(number: int, close: float, **values: Any) -> Bar:
    """The daily bar that closes at the end of day `number`."""
    fields: dict[str, Any] = {
        "instrument_id": SPX,
        "feed": "test",
        "interval_ns": DAY_NS,
        "ts_open_ns": (number - 1) * DAY_NS,
        "open": close,
        "high": close,
        "low": close,
        "close": close,
        "volume": 100.0,
        "tick_count": 4,
        "late_count": 0,
        "is_complete": True,
        "origin": TickOrigin.BAR_CLOSE,
        "ts_event_ns": number * DAY_NS,
        "ts_init_ns": number * DAY_NS,
    }
    return Bar(**{**fields, **values})


def vix(number: int, value: float, series: str = "VIX") -> MacroReading:
    """The reading of day `number`."""
    return MacroReading(
        series=series,
        feed="test",
        feed_sequence=number,
        value=value,
        ts_event_ns=number * DAY_NS,
        ts_init_ns=number * DAY_NS,
    )


def watermark(source: str, slice_: int, **values: Any) -> Watermark:
    """The end of day `slice_`."""
    fields: dict[str, Any] = {
        "source": source,
        "slice": slice_,
        "is_paced": True,
        "is_final": False,
        "ts_event_ns": slice_ * DAY_NS,
        "ts_init_ns": slice_ * DAY_NS,
    }
    return Watermark(**{**fields, **values})


def signal(number: int, trigger: str = "sma", **values: Any) -> Signal:
    """An opinion of day `number`."""
    instrument_id = values.get("instrument_id", SPX)
    fields: dict[str, Any] = {
        "signal_id": f"{trigger}-{instrument_id}-{number}",
        "trigger": trigger,
        "universe": UNIVERSE,
        "instrument_id": instrument_id,
        "direction": Direction.LONG,
        "confidence": 0.8,
        "expected_return": 0.02,
        "liquidity": 1.0,
        "horizon_ns": 5 * DAY_NS,
        "price": 2000.0,
        "reason": "It is so.",
        "features": {},
        "ts_event_ns": number * DAY_NS,
        "ts_init_ns": number * DAY_NS,
    }
    return Signal(**{**fields, **values})


def trigger_config(
    name: str, implementation: str, parameters: dict[str, str] | None = None, **values: Any
) -> TriggerConfig:
    """A trigger on daily bars of everything."""
    fields: dict[str, Any] = {
        "trigger": name,
        "implementation": implementation,
        "universe": UNIVERSE,
        "instruments": (),
        "interval_ns": DAY_NS,
        "parameters": parameters or {},
        "is_enabled": True,
        "version": 1,
    }
    return TriggerConfig(**{**fields, **values})


def group_config(**values: Any) -> TradingGroup:
    """An algorithmic group on two instruments."""
    fields: dict[str, Any] = {
        "group_id": "momentum",
        "kind": GroupKind.ALGORITHMIC,
        "implementation": "algorithmic",
        "account_id": "paper-1",
        "universe": UNIVERSE,
        "instruments": (SPX, IXIC),
        "trigger_weights": {"sma": 1.0, "rsi": 1.0},
        "target_weight": Decimal("0.05"),
        "parameters": {},
        "is_enabled": True,
        "version": 1,
    }
    return TradingGroup(**{**fields, **values})


def account_config(shard: int = 3) -> Account:
    """A paper account."""
    return Account(
        account_id="paper-1",
        shard=shard,
        base_currency="USD",
        initial_cash=Decimal(1_000_000),
        venue="PAPER",
        mode=Mode.PAPER,
        version=1,
    )


def instrument_config(instrument_id: str = SPX) -> Instrument:
    """An instrument with a tick of one quarter."""
    return Instrument(
        instrument_id=instrument_id,
        symbol=instrument_id.split(".")[0],
        venue="INDEX",
        asset_class=AssetClass.UNKNOWN,
        currency="USD",
        tick_size=Decimal("0.25"),
        lot_size=Decimal(1),
        quantity_min=Decimal(1),
        notional_min=Decimal(1),
        multiplier=Decimal(1),
        sector="index",
        calendar="XNYS",
        is_permitted=True,
        version=1,
    )


@dataclass(slots=True)
class HeldConfig:
    """A ConfigSource that tests change."""

    book: ConfigBook

    @classmethod
    def of(cls, *records: Any) -> HeldConfig:
        """With these records."""
        return cls(book_of(records))

    def publish(self, record: Any) -> None:
        """One more record."""
        self.book = self.book.with_record(record)


def inputs(topic: str, partition: int, records: Sequence[Any], first: int = 0) -> list[Input]:
    """Records as they lie on a partition."""
    return [
        Input(
            record=record,
            topic=topic,
            partition=partition,
            offset=first + number,
            event_id=f"{topic}/{partition}/{first + number}",
            correlation_id=getattr(record, "signal_id", ""),
        )
        for number, record in enumerate(records)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash:
    """Where a process dies: in its `batch`-th batch, when so many records had been sent."""

    batch: int
    sent_count: int
    """outputs, then records of the checkpoint, which are sent when all outputs are out"""


@dataclass(slots=True)
class MemoryDriver:
    """One input partition under the rules of the driver of derived streams."""

    make_stage: Callable[[], Stage]
    topic: str
    partition: int
    records: Sequence[Any]
    batch_size: int = 3
    committed: int = 0
    sent: list[Output] = field(default_factory=list)
    kept: dict[str, Input] = field(default_factory=dict)

    async def run(self, crash: Crash | None = None) -> Stage:
        """One life of a process: to the end of the records, or to the crash."""
        stage = await self._begun()
        number = 0
        while self.committed < len(self.records):
            outputs, states, count = await self._batch(stage)
            if crash is not None and crash.batch == number:
                self.sent += outputs[: crash.sent_count]
                self._keep(states[: max(crash.sent_count - len(outputs), 0)])
                return stage
            self._done(outputs, states, count)
            number += 1
        return stage

    async def run_in_lives(self) -> None:
        """A life for each batch; what was kept comes back with its maps the other way round."""
        while self.committed < len(self.records):
            stage = await self._begun(is_reversed=True)
            if self.committed < len(self.records):
                self._done(*await self._batch(stage))

    async def _begun(self, *, is_reversed: bool = False) -> Stage:
        stage = self.make_stage()
        events = inputs(self.topic, self.partition, self.records)
        kept = tuple(self.kept.values())
        if is_reversed:
            kept = tuple(
                replace(one, record=replace(one.record, state=reversed_maps(one.record.state)))
                for one in kept
            )
        start = stage.restore(self.topic, self.partition, self.committed, kept)
        for first in range(start, self.committed, self.batch_size):
            batch = events[first : min(first + self.batch_size, self.committed)]
            await stage.step(self.topic, self.partition, batch)
        # A state ahead of the committed offset says that the outputs up to it are out.
        self.committed = max(start, self.committed)
        return stage

    async def _batch(self, stage: Stage) -> tuple[list[Output], list[Output], int]:
        events = inputs(self.topic, self.partition, self.records)
        batch = events[self.committed : self.committed + self.batch_size]
        outputs = list(await stage.step(self.topic, self.partition, batch))
        return outputs, list(stage.checkpoint(self.topic, self.partition)), len(batch)

    def _done(self, outputs: list[Output], states: list[Output], count: int) -> None:
        self.sent += outputs
        self._keep(states)
        self.committed += count

    def first_of_each(self) -> list[tuple[str, str, bytes]]:
        """(topic, id, bytes) of what was sent, duplicates dropped; equal ids need equal bytes."""
        seen: dict[tuple[str, str], bytes] = {}
        for output in self.sent:
            key, body = (output.topic, output.event_id), encode(output.record)
            assert seen.setdefault(key, body) == body, f"same id, other bytes: {output}"
        return [(*key, body) for key, body in seen.items()]

    def _keep(self, states: Sequence[Output]) -> None:
        """The topic is compacted: the latest of each key."""
        for state in states:
            self.kept.pop(state.key, None)
            self.kept[state.key] = Input(record=state.record, topic=state.topic, partition=0)
