"""First read of a topic of ticks onto the tape, beside the barest loop with the same decoding.

Ours: `Tape.pull` (read, digest, write to disk), and the decoding of what is on the tape. The limit:
aiokafka's `getmany` and the same decoder of columns, nothing kept.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
from statistics import median
from time import perf_counter
from typing import Final

import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition
from confluent_kafka import Producer

from bench.ground import FLUSH_S, Ground, ground
from bench.records import START_NS, trade
from bench.tables import Result, spread, table
from tapeline.backtest.tape.store import Tape
from tapeline.contracts import topics
from tapeline.runtime.codec import Decoder, encode
from tapeline.runtime.columns import ColumnDecoder
from tapeline.runtime.intake import Intake
from tapeline.runtime.kafka import confluent_config
from tapeline.runtime.log_reader import LogReader

ROUNDS: Final = 5
TICKS: Final = 500_000
PREFIX: Final = "first."
BATCH: Final = 50_000
"""records of `getmany` at most, as many as a file of the tape holds"""


def add_options(_parser: argparse.ArgumentParser) -> None:
    """None of its own."""


def run(options: argparse.Namespace) -> Result:
    """Both in turn, several times."""
    count = 50_000 if options.quick else TICKS
    rounds = 2 if options.quick else ROUNDS
    found: dict[str, list[float]] = {"bare": [], "pull": [], "ours": []}
    with ground() as place:
        place.topics(PREFIX)
        fill(place, count)
        for number in range(rounds):
            found["bare"].append(count / bare(place, count))
            pulled, whole = own(place, count, number)
            found["pull"].append(count / pulled)
            found["ours"].append(count / whole)
    ratios = [own / limit for own, limit in zip(found["ours"], found["bare"], strict=True)]
    rows = [
        ["getmany and the decoder of columns", spread(found["bare"], "{:,.0f}"), ""],
        ["pull onto the tape alone", spread(found["pull"], "{:,.0f}"), ""],
        ["pull, then read the tape and decode", spread(found["ours"], "{:,.0f}"), spread(ratios)],
    ]
    title = f"First read: {count:,} ticks of one partition, {rounds} rounds"
    print(table(title, ["", "ticks/s", "ours / bare"], rows), flush=True)
    return {**found, "ratio": median(ratios), "ticks": count}


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


def own(place: Ground, count: int, number: int) -> tuple[float, float]:
    """(seconds until all is on the tape, until all of it is decoded)."""
    folder = place.folder / f"tape-{number}"
    reader = LogReader(confluent_config(place.settings(PREFIX)), PREFIX)
    tape, intake, found = Tape(folder), Intake((topics.TICKS,)), 0
    began = perf_counter()
    tape.pull(reader, (topics.TICKS,))
    pulled = perf_counter() - began
    for raws in tape.chunks((topics.TICKS, 0)):
        found += len(intake.inputs_of(topics.TICKS, raws))
    whole = perf_counter() - began
    assert found == count, f"{found} ticks instead of {count}"
    shutil.rmtree(folder)
    return pulled, whole


def bare(place: Ground, count: int) -> float:
    """Seconds of reading and decoding."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_bare(place, count))


async def _bare(place: Ground, count: int) -> float:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=place.kafka.bootstrap_servers,
        enable_auto_commit=False,
        isolation_level="read_committed",
        fetch_max_wait_ms=50,
    )
    kinds = topics.TOPICS[topics.TICKS].records
    decoder, found = ColumnDecoder(kinds, Decoder(kinds, None, is_canonical=False)), 0
    await consumer.start()
    try:
        where = TopicPartition(PREFIX + topics.TICKS, 0)
        consumer.assign([where])
        await consumer.seek_to_beginning(where)
        began = perf_counter()
        while found < count:
            batches = await consumer.getmany(timeout_ms=1000, max_records=BATCH)
            for records in batches.values():
                found += len(decoder.decode_all([record.value for record in records]))
        return perf_counter() - began
    finally:
        await consumer.stop()
