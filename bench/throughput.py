"""Bulk rates of our drivers beside a bare aiokafka + fastavro loop over the same topics.

A bare loop is run before each of ours, in the same process; a rate counts from the first batch to
the last. So a ratio compares neighbours, and the least and the greatest say how steady it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from statistics import median

from confluent_kafka import Producer

from bench import bare, drivers
from bench.ground import Ground, fill, ground
from bench.meter import Rate
from bench.records import mark, publish_configuration, trades
from bench.tables import Result, spread, table
from tapeline.contracts import topics
from tapeline.contracts.market import MarkPrice, Trade
from tapeline.runtime.codec import encode
from tapeline.runtime.kafka import confluent_config

PREFIX = "throughput."
Measure = Callable[[int], Rate]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of its own."""
    parser.add_argument("--records", type=int, help="records of each kind (200,000)")
    parser.add_argument("--rounds", type=int, help="of ours beside bare (3)")
    parser.add_argument("--only", default="", help="rows whose name holds this text")


def run(options: argparse.Namespace) -> Result:
    """All rows."""
    count = options.records or (50_000 if options.quick else 200_000)
    rounds = options.rounds or (2 if options.quick else 3)
    with ground() as place:
        # The last shard warms up; every other round has one of its own.
        settings = place.topics(PREFIX, shards=rounds + 1)
        publish_configuration(settings)
        _fill(place, count)
        rows = [row for row in _rows(place, count) if options.only in row[0]]
        found = [_measured(name, limit, ours, rounds) for name, limit, ours in rows]
    text = [
        [
            row["name"],
            spread(row["bare"], "{:,.0f}"),
            spread(row["ours"], "{:,.0f}"),
            spread(row["ratios"]),
            f"{median(row['bare_cpu_us']):.1f}",
            f"{median(row['our_cpu_us']):.1f}",
            f"{row['cpu_ratio']:.2f}",
        ]
        for row in found
    ]
    head = ["", "bare, records/s", "ours, records/s", "ours / bare"]
    head += ["bare CPU us", "our CPU us", "bare / ours"]
    title = f"Throughput: {count:,} records, {rounds} rounds, median (least to most)"
    print(table(title, head, text), flush=True)
    return {"records": count, "rounds": rounds, "rows": found}


def _fill(place: Ground, count: int) -> None:
    producer = Producer(
        {**confluent_config(place.settings(PREFIX)), "linger.ms": 20, "acks": "all"}
    )
    ticks = [encode(record) for record in trades(count)]
    fill(producer, PREFIX + topics.TICKS, ticks)
    marks = (mark(record.instrument_id, record.ts_event_ns) for record in trades(count))
    fill(producer, PREFIX + topics.MARKS, [encode(record) for record in marks])


def _rows(place: Ground, count: int) -> list[tuple[str, Measure, Measure]]:
    servers = place.kafka.bootstrap_servers

    def bare_on(topic: str, record: type[Trade | MarkPrice]) -> Measure:
        return lambda _number: bare.consume(servers, PREFIX + topic, count, record.AVRO)

    ticks, marks = bare_on(topics.TICKS, Trade), bare_on(topics.MARKS, MarkPrice)
    records = list(trades(count))
    data = [record.to_avro() for record in records]

    def bare_produce(number: int) -> Rate:
        topic = f"produce-bare-{number}.{topics.TICKS}"
        place.topics(f"produce-bare-{number}.")
        return bare.produce(servers, topic, data, Trade.AVRO)

    def our_produce(number: int) -> Rate:
        prefix = f"produce-ours-{number}."
        place.topics(prefix)
        return drivers.outbox(place, prefix, records)

    return [
        (
            "stage driver, null stage on ticks",
            ticks,
            lambda number: drivers.null_stage(place, PREFIX, count, number),
        ),
        (
            "market-data: ticks to bars, marks",
            ticks,
            lambda number: drivers.bars_stage(place, PREFIX, count, number),
        ),
        (
            "money driver, risk on marks",
            marks,
            lambda number: drivers.risk_on_marks(place, PREFIX, count, number),
        ),
        (
            "money driver, execution on ticks",
            ticks,
            lambda number: drivers.execution_on_ticks(place, PREFIX, count, number),
        ),
        ("outbox, produce ticks", bare_produce, our_produce),
    ]


def _measured(name: str, limit: Measure, ours: Measure, rounds: int) -> Result:
    limit(rounds)  # the broker's page cache and the interpreter, for both
    bare_rates, our_rates = [], []
    for number in range(rounds):
        bare_rates.append(limit(number))
        our_rates.append(ours(number))
    pairs = list(zip(our_rates, bare_rates, strict=True))
    ratios = [own.per_second / base.per_second for own, base in pairs]
    return {
        "name": name,
        "bare": [rate.per_second for rate in bare_rates],
        "ours": [rate.per_second for rate in our_rates],
        "ratios": ratios,
        "ratio": median(ratios),
        "bare_cpu_us": [rate.cpu_us for rate in bare_rates],
        "our_cpu_us": [rate.cpu_us for rate in our_rates],
        "cpu_ratio": median(base.cpu_us / own.cpu_us for own, base in pairs),
        "unit": "records/s",
    }
