"""Records that the benchmarks send: ticks, marks, and the configuration of the latency chain."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from confluent_kafka import Producer

from bench.ground import RUN_ID
from tapeline.cli.configuration import key_of, record_of
from tapeline.contracts import topics
from tapeline.contracts.market import AggressorSide, MarkPrice, TickOrigin, Trade
from tapeline.runtime.codec import encode
from tapeline.runtime.ids import content_id
from tapeline.runtime.kafka import confluent_config
from tapeline.runtime.settings import KafkaSettings

INSTRUMENTS = tuple(f"BENCH{number}.SIM" for number in range(10))
FEED = "synthetic"
GROUP = "probe"
ACCOUNT = "BENCH-1"
START_NS = 1_700_000_000_000_000_000
LIMITS = {
    "confidence_min": 0.1,
    "decision_age_max_ns": "1m",
    "mark_age_max_ns": "1m",
    "price_collar": "0.05",
    "protective_distance_max": "0.25",
    "position_weight_max": "0.05",
    "gross_exposure_max": "1",
    "leverage_max": "1",
    "cash_reserve_min": "0.1",
    "daily_loss_max": "0.02",
    "drawdown_max": "0.2",
    "approval_ttl_ns": "1m",
}
INSTRUMENT: dict[str, Any] = {
    "venue": "SIM",
    "is_permitted": True,
    "multiplier": "1",
    "asset_class": "CRYPTO",
    "currency": "USD",
    "calendar": "24/7",
    "tick_size": "0.01",
    "lot_size": "0.001",
    "quantity_min": "0.001",
    "notional_min": "10",
    "sector": "synthetic",
}


def trade(sequence: int, ts_ns: int) -> Trade:
    """The price moves a little and comes back; the instruments take turns."""
    return Trade(
        instrument_id=INSTRUMENTS[(sequence * 7 + sequence // 10) % len(INSTRUMENTS)],
        feed=FEED,
        feed_sequence=sequence,
        trade_id=str(sequence),
        price=100.0 + (sequence % 64) / 64.0,
        size=1000.0,
        side=AggressorSide.BUY,
        origin=TickOrigin.SYNTHETIC,
        quality=(),
        ts_event_ns=ts_ns,
        ts_init_ns=ts_ns,
    )


def trades(count: int, per_second: int = 1000) -> Iterator[Trade]:
    """`count` trades of event time `per_second`."""
    step_ns = 1_000_000_000 // per_second
    return (trade(number, START_NS + number * step_ns) for number in range(count))


def mark(instrument_id: str, ts_ns: int) -> MarkPrice:
    """A mark as market-data makes them of trades."""
    return MarkPrice(
        instrument_id=instrument_id,
        feed=FEED,
        price=100.5,
        bid_price=None,
        ask_price=None,
        ts_event_ns=ts_ns,
        ts_init_ns=ts_ns,
    )


def configuration() -> list[Any]:
    """One large account on shard 0 that one group trades on a paper venue."""
    names = list(INSTRUMENTS)
    venue: dict[str, Any] = {
        "venue": "SIM",
        "adapter": "paper",
        "maker_fee_rate": "0.0001",
        "taker_fee_rate": "0.0001",
        "half_spread_rate": "0.0001",
        "latency_ns": "1ms",
        "participation_max": "0.2",
    }
    account: dict[str, Any] = {
        "account_id": ACCOUNT,
        "shard": 0,
        "venue": "SIM",
        "base_currency": "USD",
        "initial_cash": "100000000",
        "mode": "PAPER",
    }
    group: dict[str, Any] = {
        "group_id": GROUP,
        "kind": "MANUAL",
        "implementation": GROUP,
        "account_id": ACCOUNT,
        "universe": "main",
        "instruments": names,
        "trigger_weights": {},
        "target_weight": "0.01",
        "parameters": {},
        "is_enabled": True,
    }
    mandate: dict[str, Any] = {
        **LIMITS,
        "account_id": ACCOUNT,
        "instruments": names,
        "allows_short": True,
    }
    entries: list[tuple[str, dict[str, Any]]] = [
        ("venue", venue),
        ("account", account),
        ("mandate", mandate),
        ("group", group),
    ]
    entries += [
        ("instrument", {**INSTRUMENT, "instrument_id": name, "symbol": name.partition(".")[0]})
        for name in names
    ]
    return [record_of(table, entry, "bench") for table, entry in entries]


def publish_configuration(settings: KafkaSettings) -> None:
    """Writes it to `config`, with the headers that its readers want."""
    producer = Producer(confluent_config(settings))
    for record in configuration():
        key = key_of(record)
        headers: list[tuple[str, str | bytes | None]] = [
            ("event_id", content_id(f"{RUN_ID}/{key}/{record.version}").encode()),
            ("causation_id", b""),
            ("correlation_id", b""),
            ("producer", b"bench"),
            ("run_id", RUN_ID.encode()),
        ]
        topic = settings.topic_prefix + topics.CONFIG
        producer.produce(topic, encode(record), key.encode(), 0, headers=headers)
    if producer.flush(30.0):
        raise TimeoutError("the configuration was not taken")
