"""Replay: inputs a second of the money cores along their journals, beside decoding alone.

A short run is recorded first: ticks, and decisions of the probe group, through risk and execution.
The limit is reading the same records from Kafka, decoding each with fastavro and nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import io
from statistics import median
from time import perf_counter

import fastavro

from bench.ground import RUN_ID, Ground, ground
from bench.latency import REAL, Chain, Leg, play
from bench.tables import Result, spread, table
from tapeline.backtest.run_replay import replay_run
from tapeline.contracts import topics
from tapeline.contracts.registry import SCHEMAS
from tapeline.runtime.codec import HEADER_BYTES, schema_of
from tapeline.runtime.kafka import confluent_config
from tapeline.runtime.log_reader import LogReader

ROUNDS = 3
RATE = 1000
INPUTS = (topics.TICKS, topics.MARKS, topics.DECISIONS, topics.APPROVED_ORDERS)
INPUTS_OF_RISK = (topics.FILLS, topics.ORDER_UPDATES, topics.ACCOUNT_EVENTS)


def add_options(_parser: argparse.ArgumentParser) -> None:
    """None of its own."""


def run(options: argparse.Namespace) -> Result:
    """Records a run, replays it several times."""
    orders = 250 if options.quick else 2500
    with ground() as place:
        leg = Leg(chain=REAL, rate=RATE, number=0, orders=orders, settle_s=2.0)
        play(place, leg, Chain())
        bare, ours, inputs = [], [], 0
        for _ in range(ROUNDS):
            bare.append(_decoded(place, leg.prefix))
            started = perf_counter()
            replay = asyncio.run(replay_run(place.settings(leg.prefix), RUN_ID, (0,)))
            inputs = sum(shard.inputs for shard in replay.shards)
            ours.append(inputs / (perf_counter() - started))
    ratios = [own / limit for own, limit in zip(ours, bare, strict=True)]
    is_equal = "equal byte for byte" if replay.is_equal else f"DIFFERS: {replay.differences}"
    row = [
        "risk/0 and execution/0",
        spread(bare, "{:,.0f}"),
        spread(ours, "{:,.0f}"),
        spread(ratios),
    ]
    head = ["", "read and decode, records/s", "replay, inputs/s", "replay / bare"]
    title = f"Replay: {inputs:,} inputs, {ROUNDS} rounds, {is_equal}"
    print(table(title, head, [row]), flush=True)
    return {
        "inputs": inputs,
        "bare": bare,
        "ours": ours,
        "ratio": median(ratios),
        "is_equal": replay.is_equal,
        "unit": "inputs/s",
    }


def _decoded(place: Ground, prefix: str) -> float:
    """Records a second of reading the same topics and decoding what is in them."""
    schemas = {
        schema_of(name).header: fastavro.parse_schema(SCHEMAS[name])
        for topic in (*INPUTS, *INPUTS_OF_RISK)
        for name in topics.TOPICS[topic].records
    }
    reader = LogReader(confluent_config(place.settings(prefix)), prefix)
    places = [(topic, 0) for topic in (*INPUTS, *INPUTS_OF_RISK)]
    started = perf_counter()
    ends = reader.ends(places)
    count = 0
    for raws in reader.read({where: (0, ends[where]) for where in places}).values():
        for raw in raws:
            value = raw.value or b""
            schema = schemas[value[:HEADER_BYTES]]
            fastavro.schemaless_reader(io.BytesIO(value[HEADER_BYTES:]), schema, None)
            count += 1
    return count / (perf_counter() - started)
