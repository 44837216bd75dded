"""Tick -> VenueCommand: the real chain beside a bare chain of forwarders, alternating in one run.

Measured from the feed's scheduled send time of the causing tick to the broker's append time of the
OrderUpdate that carries the VenueCommand (whole milliseconds, rounded down by the broker). A leg is
one chain at one rate: its processes are started, warmed under load, measured and ended. The two
chains take turns; nothing else runs meanwhile, and topics are read only when the leg is over.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Producer

from bench.ground import Ground, Processes, ground, wait_for
from bench.records import INSTRUMENTS, mark, publish_configuration, trade
from bench.tables import Result, percentile, table
from bench.usage import Usage, Use
from tapeline.contracts import topics
from tapeline.contracts.agents import Decision
from tapeline.contracts.market import Trade
from tapeline.contracts.orders import OrderUpdate
from tapeline.runtime.clock import wall_ns
from tapeline.runtime.codec import Decoder, encode
from tapeline.runtime.kafka import confluent_config
from tapeline.runtime.log import Raw
from tapeline.runtime.log_reader import LogReader

EVERY = {100: 1, 500: 10, 1000: 20}
"""ticks a second -> a decision on every so many-th tick: 50 to 100 orders a second"""
MARKS_S = 0.5
DRAIN_S = 15.0
HOPS = (topics.SIGNALS, topics.DECISIONS, topics.APPROVED_ORDERS, topics.ORDER_UPDATES)
REAL, BARE = "tapeline", "bare"


@dataclass(slots=True)
class Chain:
    """What was seen of one chain at one rate."""

    orders: int = 0
    expected: int = 0
    milliseconds: dict[str, list[float]] = field(default_factory=lambda: {hop: [] for hop in HOPS})
    late_ms: list[float] = field(default_factory=list)
    """how far the feed was behind its schedule"""
    usage: dict[str, Use] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """One chain at one rate, once."""

    chain: str
    rate: int
    number: int
    orders: int
    settle_s: float

    @property
    def prefix(self) -> str:
        """Of its topics."""
        return f"{self.chain}-{self.rate}-{self.number}."

    @property
    def every(self) -> int:
        """A decision on every so many-th tick."""
        return EVERY[self.rate]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of its own."""
    parser.add_argument("--orders", type=int, help="a rate and chain (5,000)")
    parser.add_argument("--rates", default="", help="ticks a second: 100,500,1000")
    parser.add_argument("--warm", type=float, help="seconds of load before (120)")


def run(options: argparse.Namespace) -> Result:
    """All rates, both chains in turns."""
    orders = options.orders or (300 if options.quick else 5000)
    rates = [int(rate) for rate in options.rates.split(",") if rate] or list(EVERY)
    warm_s = (10.0 if options.quick else 120.0) if options.warm is None else options.warm
    turns, settle_s = (1, 3.0) if options.quick else (2, 5.0)
    chains = {(rate, chain): Chain() for rate in rates for chain in (REAL, BARE)}
    with ground() as place:
        warm_orders = int(warm_s * 1000 / EVERY[1000] / 2)
        for chain in (REAL, BARE):
            warming = Leg(chain=chain, rate=1000, number=0, orders=warm_orders, settle_s=0.0)
            play(place, warming, Chain())
        for rate in rates:
            for turn in range(1, turns + 1):
                for chain in (REAL, BARE):
                    leg = Leg(
                        chain=chain,
                        rate=rate,
                        number=turn,
                        orders=orders // turns,
                        settle_s=settle_s,
                    )
                    play(place, leg, chains[rate, chain])
    _print(chains, rates)
    return {f"{rate}/{chain}": _figures(found) for (rate, chain), found in chains.items()}


# ---- one leg


def play(place: Ground, leg: Leg, found: Chain) -> None:
    """Starts a chain, feeds it, reads what came out."""
    settings = place.topics(leg.prefix)
    if leg.chain == REAL:
        publish_configuration(settings)
    with Processes(place, leg.prefix) as processes:
        _start(processes, leg)
        processes.wait_until_ready()
        reader = LogReader(confluent_config(settings), leg.prefix)
        first = int(leg.settle_s * leg.rate)
        first -= first % leg.every
        count = first + leg.orders * leg.every
        usage = Usage({**processes.pids(), "broker": place.kafka.pid})
        _feed(Producer({**confluent_config(settings), "linger.ms": _linger(leg.rate)}), leg, count)
        found.usage = usage.now()
        _drain(reader, leg.orders + first // leg.every, processes.check)
        _read(reader, leg, first, found)


def _start(processes: Processes, leg: Leg) -> None:
    if leg.chain == REAL:
        money = {"TAPELINE_SHARDS": "0"}
        processes.start("execution", "tapeline.execution", own=money)
        processes.start("risk", "tapeline.risk", own=money)
        processes.start("agents", "bench.probe", str(leg.every))
        return
    forward = ("bench.forwarders", "transactional")
    processes.start_bare("execution", *forward, topics.APPROVED_ORDERS, topics.ORDER_UPDATES, "1")
    processes.start_bare("risk", *forward, topics.DECISIONS, topics.APPROVED_ORDERS, "0")
    processes.start_bare("agents", "bench.forwarders", "plain", str(leg.every))


def _linger(rate: int) -> int:
    """Milliseconds: the feed gathers a little where ticks come thick."""
    return 5 if rate >= 500 else 0


def _feed(producer: Producer, leg: Leg, count: int) -> None:
    """Ticks on schedule, marks beside them."""
    prefix = leg.prefix
    start_ns, step_ns = wall_ns() + 200_000_000, 1_000_000_000 // leg.rate
    next_marks_ns = 0
    for number in range(count):
        due_ns = start_ns + number * step_ns
        while (wait_ns := due_ns - wall_ns()) > 0:
            producer.poll(0)
            time.sleep(wait_ns / 1e9)
        if due_ns >= next_marks_ns:
            next_marks_ns = due_ns + int(MARKS_S * 1e9)
            for name in INSTRUMENTS:
                value = encode(mark(name, due_ns))
                producer.produce(prefix + topics.MARKS, value, name.encode(), 0)
        tick = trade(number, due_ns)
        producer.produce(prefix + topics.TICKS, encode(tick), tick.instrument_id.encode(), 0)
    if producer.flush(30.0):
        raise TimeoutError("the broker did not take the ticks")


def _drain(reader: LogReader, orders: int, check: Callable[[], None]) -> None:
    """Until the last topic has grown no more for a second."""
    place = (topics.ORDER_UPDATES, 0)
    seen: list[tuple[float, int]] = [(time.monotonic(), -1)]

    def is_quiet() -> bool:
        end = reader.ends([place])[place]
        # Watermarks of the real chain go on for ever: two a second.
        if end - seen[-1][1] > 5 or end < orders:
            seen.append((time.monotonic(), end))
        return time.monotonic() - seen[-1][0] > 1.0

    try:
        wait_for(is_quiet, check, DRAIN_S)
    except TimeoutError:
        print("  the chain has not drained; what is missing is counted", flush=True)


# ---- what came out


def _read(reader: LogReader, leg: Leg, first: int, found: Chain) -> None:
    places = [(topic, 0) for topic in (*HOPS, topics.TICKS)]
    ends = reader.ends(places)
    raws = reader.read({place: (0, ends[place]) for place in places})
    decoder = Decoder((Trade.AVRO,))
    ticks = [decoder.decode(raw.value) for raw in raws[topics.TICKS, 0]]
    chosen = {tick.ts_init_ns for tick in ticks[first :: leg.every]}
    appended = raws[topics.TICKS, 0][first :: leg.every]
    found.late_ms += [
        raw.append_ms - tick.ts_init_ns / 1e6
        for raw, tick in zip(appended, ticks[first :: leg.every], strict=True)
    ]
    read = _real_times if leg.chain == REAL else _bare_times
    for hop in HOPS:
        times = read(hop, raws[hop, 0], raws)
        found.milliseconds[hop] += [
            append_ms - scheduled_ns / 1e6
            for scheduled_ns, append_ms in times.items()
            if scheduled_ns in chosen
        ]
    found.expected += len(chosen)
    found.orders = len(found.milliseconds[topics.ORDER_UPDATES])


def _bare_times(_hop: str, raws: list[Raw], _all: object) -> dict[int, int]:
    decoder = Decoder((Trade.AVRO,))
    return {decoder.decode(raw.value).ts_init_ns: raw.append_ms for raw in raws}


def _real_times(
    hop: str, raws: list[Raw], everything: Mapping[tuple[str, int], list[Raw]]
) -> dict[int, int]:
    """Scheduled time -> append time of the record that followed from the tick."""
    decoder = Decoder(topics.TOPICS[hop].records)
    found: dict[int, int] = {}
    scheduled: dict[str, int] = {}
    if hop in (topics.APPROVED_ORDERS, topics.ORDER_UPDATES):
        decisions = Decoder(topics.TOPICS[topics.DECISIONS].records)
        for raw in everything[topics.DECISIONS, 0]:
            decision = decisions.decode(raw.value)
            if isinstance(decision, Decision):
                scheduled[decision.decision_id] = decision.ts_event_ns
    for raw in raws:
        at_ns = _cause_ns(decoder.decode(raw.value), scheduled)
        if at_ns is not None:
            found.setdefault(at_ns, raw.append_ms)
    return found


def _cause_ns(record: Any, scheduled: Mapping[str, int]) -> int | None:
    if isinstance(record, OrderUpdate):
        return None if record.command is None else scheduled.get(record.decision_id)
    approval = getattr(record, "approval", None)
    if approval is not None:
        return scheduled.get(approval.decision_id)
    is_ours = hasattr(record, "signal_id") or isinstance(record, Decision)
    return int(record.ts_event_ns) if is_ours else None


# ---- the tables


def _figures(found: Chain) -> Result:
    values = found.milliseconds[topics.ORDER_UPDATES]
    return {
        "orders": found.orders,
        "expected": found.expected,
        "p50_ms": percentile(values, 0.5),
        "p90_ms": percentile(values, 0.9),
        "p99_ms": percentile(values, 0.99),
        "hops_p50_ms": {hop: percentile(found.milliseconds[hop], 0.5) for hop in HOPS},
        "tick_appended_p50_ms": percentile(found.late_ms, 0.5),
        "cpu_share": {name: use.cpu_share for name, use in found.usage.items()},
        "peak_mb": {name: use.peak_mb for name, use in found.usage.items()},
    }


def _print(chains: Mapping[tuple[int, str], Chain], rates: list[int]) -> None:
    rows, hops, cpu = [], [], []
    for rate in rates:
        real, bare = _figures(chains[rate, REAL]), _figures(chains[rate, BARE])
        for name, figures in ((REAL, real), (BARE, bare)):
            rows.append(
                [f"{rate:,} ticks/s, {name}", f"{figures['orders']:,} of {figures['expected']:,}"]
                + [f"{figures[key]:.1f}" for key in ("p50_ms", "p90_ms", "p99_ms")]
            )
            hops.append(
                [f"{rate:,} ticks/s, {name}", f"{figures['tick_appended_p50_ms']:.1f}"]
                + [f"{figures['hops_p50_ms'][hop]:.1f}" for hop in HOPS]
            )
            names = ("agents", "risk", "execution", "broker")
            cpu.append(
                [f"{rate:,} ticks/s, {name}"]
                + [f"{figures['cpu_share'][part]:.0%}" for part in names]
                + [f"{figures['peak_mb'][part]:.0f}" for part in names]
            )
        ratios = [f"{real[key] / bare[key]:.2f}" for key in ("p50_ms", "p90_ms", "p99_ms")]
        rows.append([f"{rate:,} ticks/s, ratio", "", *ratios])
    head = ["", "orders", "p50 ms", "p90 ms", "p99 ms"]
    print(table("Tick -> VenueCommand, from the scheduled send time", head, rows))
    print(table("The same hop by hop, p50 in ms", ["", topics.TICKS, *HOPS], hops))
    parts = ["agents", "risk", "execution", "broker"]
    head = ["", *(f"{part} CPU" for part in parts), *(f"{part} MB" for part in parts)]
    print(table("CPU (of one processor) and peak memory of the last turn", head, cpu), flush=True)
