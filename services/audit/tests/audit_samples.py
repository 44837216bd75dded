"""Records to chain, and a writer that needs no Kafka."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import psycopg
from sqlalchemy import make_url

from tapeline.audit.anchors import Anchor, Anchors
from tapeline.audit.chain import Chain, ChainKey, Record, pack_headers
from tapeline.audit.core import Batch, Entry, Ledger, Scribe, is_bulk, names_of
from tapeline.audit.reading import Reader
from tapeline.audit.store import Store
from tapeline.contracts.agents import Decision, DecisionKind
from tapeline.contracts.market import AggressorSide, TickOrigin, Trade
from tapeline.contracts.orders import OrderType, TimeInForce
from tapeline.contracts.system import Watermark
from tapeline.runtime.codec import encode

RUN_ID = "run-1"
KEY = ChainKey(key_id="2026-01", secret=bytes(range(32)))


@dataclass(frozen=True)
class Database:
    """One database: as its owner, a superuser, and as the service."""

    admin_url: str
    app_url: str
    role: str

    def admin(self) -> psycopg.Connection[Any]:
        """A connection of the superuser."""
        return psycopg.connect(plain(self.admin_url), autocommit=True)

    def app(self) -> psycopg.Connection[Any]:
        """A connection of the service's role."""
        return psycopg.connect(plain(self.app_url), autocommit=True)


def plain(url: str) -> str:
    """For psycopg alone."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def decision(number: int, **changes: Any) -> Decision:
    """The `number`-th decision."""
    base = Decision(
        decision_id=f"decision-{number}",
        account_id="PAPER-1",
        group_id="momentum",
        cycle_ns=1_000 + number,
        index=0,
        kind=DecisionKind.TARGET_WEIGHT,
        instrument_id="SPY.ARCA",
        target_weight=Decimal("0.025"),
        order_type=OrderType.MARKET,
        time_in_force=TimeInForce.DAY,
        is_reduce_only=False,
        is_post_only=False,
        confidence=0.7,
        reference_price=201.53,
        model="",
        is_offline_model=False,
        reason="three of four triggers are long",
        ts_event_ns=1_000 + number,
        ts_init_ns=1_000 + number,
    )
    return replace(base, **changes)


def trade(number: int) -> Trade:
    """The `number`-th tick."""
    return Trade(
        instrument_id="SPY.ARCA",
        feed="recorded",
        feed_sequence=number,
        trade_id=str(number),
        price=200.0 + number % 7,
        size=1.0,
        side=AggressorSide.BUY,
        origin=TickOrigin.EXCHANGE,
        quality=(),
        ts_event_ns=number,
        ts_init_ns=number,
    )


def watermark(is_final: bool) -> Watermark:
    """The end of a slice."""
    return Watermark(
        source="feed/recorded",
        slice=1,
        is_paced=True,
        is_final=is_final,
        ts_event_ns=1,
        ts_init_ns=1,
    )


def message(
    topic: str,
    partition: int,
    offset: int,
    value: Any,
    event_id: str | None = None,
    causation_id: str = "",
) -> Record:
    """A record of Kafka; `value` is a contracts record, bytes or None."""
    headers: list[tuple[str, bytes]] = []
    if event_id is not None:
        texts = {"event_id": event_id, "causation_id": causation_id, "producer": "test/0"}
        headers = [(name, text.encode()) for name, text in texts.items()]
    return Record(
        topic=topic,
        partition=partition,
        offset=offset,
        append_ms=1_700_000_000_000 + offset,
        key=b"PAPER-1",
        headers=pack_headers(headers),
        value=value if value is None or isinstance(value, bytes) else encode(value),
    )


def decisions(
    number: int, start: int = 0, partition: int = 0, first_id: int | None = None
) -> list[Record]:
    """Consecutive decisions of one partition."""
    first_id = start if first_id is None else first_id
    return [
        message(
            "decisions", partition, start + i, decision(first_id + i), f"decision-{first_id + i}"
        )
        for i in range(number)
    ]


@dataclass
class Writer:
    """Chains records without Kafka, as the recorder does."""

    store: Store | None = None
    run_id: str = RUN_ID
    key: ChainKey = KEY
    ledger: Ledger = field(default_factory=lambda: Ledger(tips={}))
    reader: Reader = field(default_factory=Reader)

    def entries(self, records: Sequence[Record]) -> list[Entry]:
        """As the recorder makes them."""
        return [
            Entry(record=record, is_final=self.reader.is_final_watermark(record))
            if is_bulk(record.topic)
            else Entry(record=record, reading=self.reader.read(record))
            for record in records
        ]

    def chain(self, records: Sequence[Record]) -> Batch:
        """The batch of these records; the ledger moves on."""
        entries = self.entries(records)
        places = {record.place for record in records}
        scribe = Scribe(
            self.run_id, {place: Chain(self.key, self.run_id, place) for place in places}
        )
        seen = self.store.seen(names_of(entries)) if self.store else set()
        batch, self.ledger = scribe.chain(self.ledger, entries, seen)
        return batch

    def write(self, records: Sequence[Record]) -> Batch:
        """Chains and stores."""
        assert self.store is not None
        batch = self.chain(records)
        self.store.append(batch)
        return batch

    def anchors(self) -> Anchors:
        """Anchors of all chains as they stand."""
        return Anchors(
            anchors=tuple(
                Anchor(
                    run_id=self.run_id,
                    topic=topic,
                    partition=partition,
                    next_offset=tip.next_offset,
                    row_count=tip.index,
                    head=tip.head.hex(),
                    key_id=self.key.key_id,
                    ts_init_ns=0,
                )
                for (topic, partition), tip in self.ledger.tips.items()
            )
        )
