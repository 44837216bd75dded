"""First read of a topic of ticks onto the tape, beside the barest loop with the same decoding.

Ours: `Tape.pull` (read, digest, columns, proof that the bytes come back, write to disk), then what
a run reads: the columns, or the records made of them. The limit: aiokafka's `getmany` and the same
decoding, into columns or into records, nothing kept.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Final

import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition
from confluent_kafka import Producer

from bench.ground import FLUSH_S, Ground, ground
from bench.records import START_NS, trade
from bench.tables import Result, spread, table
from tapeline.backtest.tape.bulk_frame import RecordType
from tapeline.backtest.tape.store import Tape
from tapeline.contracts import topics
from tapeline.contracts.market import Trade
from tapeline.contracts.registry import SCHEMAS
from tapeline.runtime.codec import Decoder, encode
from tapeline.runtime.columns import PADDING, ColumnDecoder
from tapeline.runtime.kafka import confluent_config
from tapeline.runtime.log_reader import LogReader

ROUNDS: Final = 5
TICKS: Final = 500_000
PREFIX: Final = "first."
BATCH: Final = 50_000
"""records of `getmany` at most, as many as a file of the tape holds"""
PLACE: Final = (topics.TICKS, 0)
Decode = Callable[[Sequence[bytes]], int]
"""Decodes messages and gives their number."""


def add_options(_parser: argparse.ArgumentParser) -> None:
    """None of its own."""


def run(options: argparse.Namespace) -> Result:
    """Ours and the limits in turn, several times."""
    count = 50_000 if options.quick else TICKS
    rounds = 2 if options.quick else ROUNDS
    found: dict[str, list[float]] = {}
    sizes: list[int] = []
    with ground() as place:
        place.topics(PREFIX)
        fill(place, count)
        for number in range(rounds):
            seconds = {
                "bare columns": bare(place, count, columns_only()),
                "bare records": bare(place, count, records_too()),
            }
            folder = place.folder / f"tape-{number}"
            seconds |= own(place, folder, count)
            sizes.append(sum(path.stat().st_size for path in folder.rglob("*.parquet")))
            shutil.rmtree(folder)
            for name, took in seconds.items():
                found.setdefault(name, []).append(count / took)
    whole = {
        kind: [
            1 / (1 / one + 1 / other) for one, other in zip(found["pull"], found[kind], strict=True)
        ]
        for kind in ("columns", "records")
    }
    ratios = {
        kind: [own / limit for own, limit in zip(whole[kind], found[f"bare {kind}"], strict=True)]
        for kind in whole
    }
    rows = [
        ["getmany, decoded to columns", spread(found["bare columns"], "{:,.0f}"), ""],
        ["getmany, decoded to records", spread(found["bare records"], "{:,.0f}"), ""],
        ["pull onto the tape", spread(found["pull"], "{:,.0f}"), ""],
        ["pull, columns from the tape", _rates(whole["columns"]), spread(ratios["columns"])],
        ["pull, records from the tape", _rates(whole["records"]), spread(ratios["records"])],
        ["a later run: columns", spread(found["columns"], "{:,.0f}"), ""],
        ["a later run: records", spread(found["records"], "{:,.0f}"), ""],
    ]
    title = (
        f"First read: {count:,} ticks of one partition, {rounds} rounds, "
        f"{sizes[0] / count:.1f} bytes a tick on disk"
    )
    print(table(title, ["", "ticks/s", "ours / bare"], rows), flush=True)
    return {
        **found,
        "ratio": {kind: median(found) for kind, found in ratios.items()},
        "ticks": count,
        "bytes": sizes[0],
    }


def _rates(found: list[float]) -> str:
    return spread(found, "{:,.0f}")


def fill(place: Ground, count: int) -> None:
    """The topic."""
    producer = Producer({**confluent_config(place.settings(PREFIX)), "linger.ms": 20})
    for number in range(count):
        record = trade(number + 1, START_NS + number * 1_000_000)
        producer.produce(PREFIX + topics.TICKS, encode(record), record.instrument_id, partition=0)
        if number % 10_000 == 0:
            producer.poll(0)
    if producer.flush(FLUSH_S):
        raise RuntimeError("not all ticks were taken by the broker")


def own(place: Ground, folder: Path, count: int) -> dict[str, float]:
    """Seconds of pulling, of reading the columns again, and of making records of them."""
    reader = LogReader(confluent_config(place.settings(PREFIX)), PREFIX)
    tape = Tape(folder)
    began = perf_counter()
    tape.pull(reader, (topics.TICKS,))
    found = {"pull": perf_counter() - began}
    kinds: dict[str, Callable[[], int]] = {
        "columns": lambda: sum(frame.height for frame in tape.frames(PLACE)),
        "records": lambda: sum(map(len, tape.records(PLACE))),
    }
    for kind, read in kinds.items():
        began = perf_counter()
        ticks = read()
        found[kind] = perf_counter() - began
        assert ticks == count, f"{ticks} ticks instead of {count}"
    return found


def columns_only() -> Decode:
    """As the tape does, without its proof."""
    kind = RecordType.of(SCHEMAS[Trade.AVRO])
    assert kind is not None

    def decode(values: Sequence[bytes]) -> int:
        return kind.decoded(values, b"".join((*values, PADDING)))[0].height

    return decode


def records_too() -> Decode:
    """As a stage does."""
    kinds = topics.TOPICS[topics.TICKS].records
    decoder = ColumnDecoder(kinds, Decoder(kinds, None, is_canonical=False))
    return lambda values: len(decoder.decode_all(values))


def bare(place: Ground, count: int, decode: Decode) -> float:
    """Seconds of reading and decoding."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_bare(place, count, decode))


async def _bare(place: Ground, count: int, decode: Decode) -> float:
    consumer: Any = AIOKafkaConsumer(
        bootstrap_servers=place.kafka.bootstrap_servers,
        enable_auto_commit=False,
        isolation_level="read_committed",
        fetch_max_wait_ms=50,
    )
    found = 0
    await consumer.start()
    try:
        where = TopicPartition(PREFIX + topics.TICKS, 0)
        consumer.assign([where])
        await consumer.seek_to_beginning(where)
        began = perf_counter()
        while found < count:
            batches = await consumer.getmany(timeout_ms=1000, max_records=BATCH)
            for records in batches.values():
                found += decode([record.value for record in records])
        return perf_counter() - began
    finally:
        await consumer.stop()
