"""The feed and the bars stage as processes on real Kafka, killed while they work."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from uuid import uuid5

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from market_data_exchange_server import Exchange

from tapeline.contracts import topics
from tapeline.contracts.market import QualityFlag, Trade
from tapeline.contracts.system import SliceDone, Watermark
from tapeline.market_data.bars_core import PartitionBars
from tapeline.market_data.feed_core import FeedCore, Place, Sent, Slicer
from tapeline.market_data.feeds.synthetic import make
from tapeline.market_data.quality import Gate
from tapeline.market_data.settings import MarketDataSettings
from tapeline.runtime.clock import wall_ns
from tapeline.runtime.codec import Decoder, encode
from tapeline.runtime.core import Input
from tapeline.runtime.ids import NAMESPACE
from tapeline.runtime.kafka import confluent_config
from tapeline.runtime.log_reader import LogReader
from tapeline.runtime.settings import KafkaSettings
from tapeline.runtime.topology import Topology, create_topics, delete_topics, partition_of

pytestmark = pytest.mark.kafka
COUNT = 2
OPTIONS = {
    "seed": "11",
    "seconds": "1800",
    "rate": "4",
    "instruments": "A.SIM,B.SIM,C.SIM",
    "spike_share": "0.002",
    "crossed_share": "0.01",
    "duplicate_share": "0.01",
    "disorder_share": "0.01",
}
PLACES = [
    (topics.TICKS, 0),
    (topics.TICKS, 1),
    (topics.MACRO, 0),
    (topics.FUNDING_RATES, 0),
    (topics.QUARANTINE, 0),
]


@dataclass
class Run:
    """One run's topics and the processes on them."""

    settings: KafkaSettings
    logs: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, command: str, *arguments: str, **variables: str) -> subprocess.Popen[bytes]:
        environment = {
            **{name: text for name, text in os.environ.items() if "TAPELINE" not in name},
            "KAFKA_BOOTSTRAP_SERVERS": self.settings.kafka_bootstrap_servers,
            "TAPELINE_TOPIC_PREFIX": self.settings.topic_prefix,
            "TAPELINE_IS_PACED": "true",
            "TAPELINE_MARKET_DATA_INTERVALS": "1m,5m,1h",
            **variables,
        }
        with (self.logs / f"{command}.log").open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "tapeline.market_data", command, *arguments],
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.processes.append(process)
        return process

    def feed(self, **variables: str) -> subprocess.Popen[bytes]:
        options = [
            part for name, text in OPTIONS.items() for part in ("--option", f"{name}={text}")
        ]
        return self.start("feed", "--feed", "synthetic", *options, **variables)

    def log(self, command: str) -> str:
        return (self.logs / f"{command}.log").read_text()


@pytest.fixture
def run(kafka_bootstrap: str, tmp_path: Path) -> Iterator[Run]:
    """Empty topics with two partitions of ticks."""
    prefix = f"md-{str(uuid5(NAMESPACE, str(tmp_path)))[:8]}-"
    settings = KafkaSettings(kafka_bootstrap_servers=kafka_bootstrap, topic_prefix=prefix)
    create_topics(settings, Topology(instrument=COUNT))
    found = Run(settings, tmp_path)
    try:
        yield found
    finally:
        for process in found.processes:
            process.kill()
            process.wait()
        delete_topics(settings)


def expected() -> dict[Place, list[bytes]]:
    """What an undisturbed feed writes."""

    async def sent() -> list[Sent]:
        feed = make(OPTIONS)
        limits = MarketDataSettings().limits(feed.silence_ns_max)
        core = FeedCore(feed.name, "local", COUNT, partition_of, Gate(limits))
        slicer = Slicer(core, 60_000_000_000)
        batches = [slicer.push(raw) async for batch in feed.batches({}) for raw in batch]
        parts = [part for batch in batches for part in batch]
        found = [sent for part in (*parts, *slicer.finish()) for sent in part.records]
        assert core.refused.keys() == {"CROSSED_QUOTE", "DUPLICATE"}
        return found

    found: dict[Place, list[bytes]] = {place: [] for place in PLACES}
    for one in asyncio.run(sent()):
        found[one.topic, one.partition].append(encode(one.record))
    return found


def read(settings: KafkaSettings, places: Sequence[Place]) -> dict[Place, list[bytes]]:
    reader = LogReader(confluent_config(settings), settings.topic_prefix)
    ends = reader.ends(places)
    raws = reader.read({place: (0, end) for place, end in ends.items()})
    return {place: [raw.value or b"" for raw in found] for place, found in raws.items()}


@contextmanager
def reporting(
    settings: KafkaSettings, topic: str, sources: int
) -> Iterator[dict[int, threading.Event]]:
    """A reporter that finishes a slice when all sources of a topic have; gives events for some."""
    reached = {number: threading.Event() for number in (3, 8, 15, 22)}
    over = threading.Event()
    consumer = Consumer(
        confluent_config(
            settings, group_id=f"{settings.topic_prefix}probe", auto_offset_reset="earliest"
        )
    )
    consumer.subscribe([settings.topic_prefix + topic])
    producer = Producer(confluent_config(settings, linger_ms=0))
    decoder = Decoder(topics.TOPICS[topic].records)
    seen: dict[int, set[str]] = {}

    def answer() -> None:
        while not over.is_set():
            message = consumer.poll(0.1)
            if message is None or message.error() is not None:
                continue
            mark = decoder.decode(message.value())
            if not isinstance(mark, Watermark):
                continue
            seen.setdefault(mark.slice, set()).add(mark.source)
            if len(seen[mark.slice]) < sources:
                continue
            done = SliceDone(
                reporter="probe/0",
                slice=mark.slice,
                is_final=mark.is_final,
                ts_event_ns=mark.ts_event_ns,
                ts_init_ns=mark.ts_init_ns,
            )
            producer.produce(settings.topic_prefix + topics.PROGRESS, encode(done), partition=0)
            producer.flush(120)
            if mark.slice in reached:
                reached[mark.slice].set()

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield reached
    finally:
        over.set()
        thread.join()
        consumer.close()


def test_a_killed_feed_loses_nothing_and_repeats_nothing(run: Run) -> None:
    """Nor does one that is started again after its end."""
    whole = expected()
    with reporting(run.settings, topics.MACRO, 1) as reached:
        for number in reached:
            process = run.feed(TAPELINE_MARKET_DATA_REPORTERS="probe/0")
            assert reached[number].wait(240), run.log("feed")
            process.send_signal(signal.SIGKILL)
            process.wait()
        last = run.feed(TAPELINE_MARKET_DATA_REPORTERS="probe/0")
        assert last.wait(240) == 0, run.log("feed")
        again = run.feed(TAPELINE_MARKET_DATA_REPORTERS="probe/0")
        assert again.wait(240) == 0, run.log("feed")
    found = read(run.settings, PLACES)
    for place in PLACES:
        assert found[place] == whole[place], place
    assert all(len(part) > 25 for place, part in found.items())
    ids = event_ids(run.settings, PLACES[2:])
    assert len(set(ids)) == len(ids)


def event_ids(settings: KafkaSettings, places: Sequence[Place]) -> list[str]:
    reader = LogReader(confluent_config(settings), settings.topic_prefix)
    raws = reader.read({place: (0, end) for place, end in reader.ends(places).items()})
    found = [raw for part in raws.values() for raw in part]
    assert {raw.header("producer") for raw in found} == {"feed/synthetic"}
    return [raw.header("event_id") for raw in found]


def test_a_reporter_that_does_not_answer_is_named(run: Run) -> None:
    process = run.feed(
        TAPELINE_MARKET_DATA_REPORTERS="probe/0,group/momentum",
        TAPELINE_MARKET_DATA_REPORTERS_WAIT_S="0.5",
    )
    assert process.wait(240) == 69
    log = run.log("feed")
    assert "Slice 1 was not finished within 0 s by probe/0, group/momentum." in log
    assert "Traceback" not in log


def test_a_malformed_file_leaves_nothing_behind(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("ts_event_ns,price,size\n1,10,1\n2,ten,1\n")
    (tmp_path / "a.toml").write_text('path = "a.csv"\nkind = "trades"\ninstrument_id = "A.X"\n')
    process = run.start("feed", "--feed", "recorded", "--option", f"mapping={tmp_path / 'a.toml'}")
    assert process.wait(240) == 64
    assert "a.csv, row 2, column 'price': 'ten' is not a value." in run.log("feed")
    assert "Traceback" not in run.log("feed")
    assert all(part == [] for part in read(run.settings, PLACES).values())


def test_a_scheduled_feed_plays_in_real_time_and_marks_every_second(run: Run) -> None:
    options = ["--option", "seconds=200", "--option", "rate=10"]
    process = run.start(
        "feed", "--feed", "synthetic", *options, "--rate", "1000", TAPELINE_IS_PACED="false"
    )
    assert process.wait(240) == 0, run.log("feed")
    decoder = Decoder(topics.TOPICS[topics.TICKS].records)
    marks, ticks = [], []
    for place, values in read(run.settings, PLACES[:2]).items():
        for value in values:
            record = decoder.decode(value)
            (marks if isinstance(record, Watermark) else ticks).append((place, record))
            if isinstance(record, Watermark):
                continue
            behind = [mark.ts_event_ns for where, mark in marks if where == place]
            assert all(ts <= record.ts_event_ns for ts in behind)
    assert all(record.ts_event_ns == record.ts_init_ns for _, record in ticks)
    slices = [mark.slice for place, mark in marks if place == (topics.TICKS, 0)]
    assert slices == list(range(slices[0], slices[0] + len(slices)))
    times = sorted(record.ts_event_ns for _, record in ticks)
    assert {later - earlier for earlier, later in pairwise(times)} == {1_000_000}


async def test_a_killed_live_feed_fetches_what_it_missed_and_repeats_nothing(run: Run) -> None:
    now_ms = wall_ns() // 1_000_000
    trades = [
        {"id": 100 + i, "price": "10.0", "qty": "1", "time": now_ms + i, "isBuyerMaker": False}
        for i in range(30)
    ]
    exchange = Exchange(trades=trades, streams=[[(0, 10)], [(20, 30)]])
    runner = await exchange.start()
    arguments = [
        *("--feed", "ccxt", "--option=exchange=binance", "--option=symbols=XRP/ETH"),
        *("--option=quotes=no", f"--option=http_url=http://{exchange.url}"),
        f"--option=websocket_url=ws://{exchange.url}",
        '--option=config={"options": {"fetchMarkets": {"types": ["spot"]}}}',
    ]
    try:
        for last in ("109", "129"):
            process = run.start("feed", *arguments, TAPELINE_IS_PACED="false")
            found = await asyncio.to_thread(until_trade, run.settings, last)
            process.send_signal(signal.SIGKILL)
            await asyncio.to_thread(process.wait)
    finally:
        await runner.cleanup()
    ticks = [record for record in found if isinstance(record, Trade)]
    assert [tick.trade_id for tick in ticks] == [str(number) for number in range(100, 130)]
    assert [tick.feed_sequence for tick in ticks] == list(range(30))
    gaps = [tick.trade_id for tick in ticks if QualityFlag.GAP_BEFORE in tick.quality]
    assert gaps == ["100"]
    marks = [record for record in found if isinstance(record, Watermark)]
    assert all(not mark.is_paced and mark.ts_event_ns < mark.ts_init_ns for mark in marks)


def until_trade(settings: KafkaSettings, trade_id: str) -> list[object]:
    """All records of the ticks partition of the instrument, as soon as it has a trade."""
    decoder = Decoder(topics.TOPICS[topics.TICKS].records)
    consumer = Consumer(
        confluent_config(settings, group_id=f"{settings.topic_prefix}until-{trade_id}")
    )
    name = settings.topic_prefix + topics.TICKS
    partition = partition_of("XRPETH.BINANCE", COUNT)
    consumer.assign([TopicPartition(name, partition, 0)])
    found: list[object] = []
    silent = 0
    try:
        while silent < 600:
            message = consumer.poll(0.1)
            if message is None or message.error() is not None:
                silent += 1
                continue
            found.append(decoder.decode(message.value()))
            if getattr(found[-1], "trade_id", "") == trade_id:
                return found
    finally:
        consumer.close()
    raise AssertionError(f"no trade {trade_id}")


def test_killed_bars_are_those_of_an_undisturbed_run(run: Run) -> None:
    process = run.start("bars")
    with reporting(run.settings, topics.BARS, COUNT) as reached:
        feed = run.feed(TAPELINE_MARKET_DATA_REPORTERS="probe/0")
        for number in reached:
            assert reached[number].wait(240), run.log("feed")
            process.send_signal(signal.SIGKILL)
            process.wait()
            process = run.start("bars")
        assert feed.wait(240) == 0, run.log("feed")
    whole = undisturbed_bars(run.settings)
    await_bars(run.settings, whole)
    process.send_signal(signal.SIGTERM)
    assert process.wait(240) == 0, run.log("bars")
    for place, expected_values in whole.items():
        found = read(run.settings, [place])[place]
        assert list(dict.fromkeys(found)) == expected_values, place


def undisturbed_bars(settings: KafkaSettings) -> dict[Place, list[bytes]]:
    decoder = Decoder(topics.TOPICS[topics.TICKS].records)
    intervals = (60_000_000_000, 300_000_000_000, 3_600_000_000_000)
    whole: dict[Place, list[bytes]] = {}
    for (_, partition), values in read(settings, PLACES[:2]).items():
        inputs = [
            Input(
                record=decoder.decode(value),
                topic=topics.TICKS,
                partition=partition,
                offset=offset,
                session_ns=0,
            )
            for offset, value in enumerate(values)
        ]
        for output in PartitionBars(partition, intervals).step(inputs):
            whole.setdefault((output.topic, partition), []).append(encode(output.record))
    return whole


def await_bars(settings: KafkaSettings, whole: dict[Place, list[bytes]]) -> None:
    """Returns when the last record of every partition is there."""
    consumer = Consumer(
        confluent_config(
            settings, group_id=f"{settings.topic_prefix}wait", auto_offset_reset="earliest"
        )
    )
    consumer.subscribe([settings.topic_prefix + topics.BARS, settings.topic_prefix + topics.MARKS])
    left = {place: values[-1] for place, values in whole.items()}
    try:
        silent = 0
        while left and silent < 300:
            message = consumer.poll(0.1)
            if message is None or message.error() is not None:
                silent += 1
                continue
            topic = str(message.topic()).removeprefix(settings.topic_prefix)
            place = (topic, int(message.partition() or 0))
            if left.get(place) == message.value():
                del left[place]
    finally:
        consumer.close()
    assert not left
