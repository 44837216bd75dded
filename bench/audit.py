"""Audit: chaining and storing batches of 500, `verify` and `trace`, on a PostgreSQL of its own.

The limit of storing is a bare COPY of the same rows in the same batches on a table without keys;
the limit of verifying is reading the rows and nothing else. No Kafka takes part.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from statistics import median
from time import perf_counter

import psycopg
from sqlalchemy import make_url

from bench.ground import RUN_ID
from bench.records import ACCOUNT, GROUP, INSTRUMENTS, START_NS
from bench.tables import Result, percentile, table
from tapeline.audit.anchors import Anchors
from tapeline.audit.chain import Chain, ChainKey, Record, pack_headers
from tapeline.audit.core import ROW_COLUMNS, Entry, Ledger, Scribe, names_of
from tapeline.audit.keys import ChainKeys
from tapeline.audit.lineage import trace
from tapeline.audit.migrate import migrate
from tapeline.audit.reading import Reader
from tapeline.audit.store import Store
from tapeline.audit.verify import ROWS, verify
from tapeline.cli.stack.postgres import EmbeddedPostgres
from tapeline.contracts import topics
from tapeline.contracts.agents import Decision, DecisionKind
from tapeline.contracts.orders import Fill, LiquiditySide, OrderType, Side, TimeInForce
from tapeline.runtime.codec import encode

BATCH = 500
KEY = ChainKey(key_id="bench", secret=bytes(range(32)))
TRACES = 300
ONE = Decimal(1)
LAID_OUT = ", ".join(ROW_COLUMNS)


def add_options(_parser: argparse.ArgumentParser) -> None:
    """None of its own."""


def run(options: argparse.Namespace) -> Result:
    """Stores, verifies, traces."""
    rows = 20_000 if options.quick else 100_000
    with (
        tempfile.TemporaryDirectory(prefix="tapeline-bench-") as folder,
        EmbeddedPostgres(Path(folder) / "postgres") as postgres,
    ):
        app_url = migrate(postgres.database_url)
        found = _stored(app_url, postgres.database_url, rows)
        found |= _verified(app_url, rows)
        found |= _traced(app_url, rows // 2)
    _print(found, rows)
    return found


# ---- storing


def orders(first: int, count: int) -> list[Record]:
    """Decisions and their fills, in turns."""
    found = []
    for number in range(first, first + count):
        found.append(_record(topics.DECISIONS, number, f"decision-{number}", "", _decision(number)))
        cause = f"decision-{number}"
        found.append(_record(topics.FILLS, number, f"fill-{number}", cause, _fill(number)))
    return found


def _stored(app_url: str, admin_url: str, rows: int) -> dict[str, float]:
    store = Store(app_url, RUN_ID)
    reader, ledger = Reader(), Ledger(tips={})
    places = [(topics.DECISIONS, 0), (topics.FILLS, 0)]
    scribe = Scribe(RUN_ID, {place: Chain(KEY, RUN_ID, place) for place in places})
    values = attrgetter(*ROW_COLUMNS)
    whole, inserts, bares = [], [], []
    with psycopg.connect(_plain(admin_url)) as bare:
        bare.execute("CREATE TABLE bare (LIKE audit.audit_row)")
        bare.commit()
        for first in range(0, rows // 2, BATCH // 2):
            records = orders(first, BATCH // 2)
            started = perf_counter()
            entries = [Entry(record=record, reading=reader.read(record)) for record in records]
            seen = store.seen(names_of(entries))
            batch, ledger = scribe.chain(ledger, entries, seen)
            chained = perf_counter()
            store.append(batch)
            ended = perf_counter()
            whole.append(ended - started)
            inserts.append(ended - chained)
            started = perf_counter()
            with bare.cursor().copy(f"COPY bare ({LAID_OUT}) FROM STDIN") as copy:
                for row in batch.rows:
                    copy.write_row(values(row))
            bare.commit()
            bares.append(perf_counter() - started)
    store.close()
    return {
        "store_rows_per_s": BATCH / median(whole),
        "insert_rows_per_s": BATCH / median(inserts),
        "bare_rows_per_s": BATCH / median(bares),
        "insert_p50_ms": median(inserts) * 1e3,
        "insert_p99_ms": percentile(inserts, 0.99) * 1e3,
        "bare_p50_ms": median(bares) * 1e3,
        "bare_p99_ms": percentile(bares, 0.99) * 1e3,
        "whole_p99_ms": percentile(whole, 0.99) * 1e3,
    }


# ---- verifying and tracing


def _verified(app_url: str, rows: int) -> dict[str, float]:
    started = perf_counter()
    with psycopg.connect(_plain(app_url)) as connection, connection.cursor(name="bare") as cursor:
        cursor.itersize = BATCH * 4
        count = sum(1 for _ in cursor.execute(ROWS, (RUN_ID,)))
    read_s = perf_counter() - started
    assert count == rows, f"{count} rows of {rows}"
    started = perf_counter()
    report = verify(app_url, RUN_ID, ChainKeys(current=KEY, known={KEY.key_id: KEY}), Anchors())
    verify_s = perf_counter() - started
    assert report.is_intact, report
    return {"read_rows_per_s": rows / read_s, "verify_rows_per_s": rows / verify_s}


def _traced(app_url: str, decisions: int) -> dict[str, float]:
    times = []
    for number in range(0, decisions, max(1, decisions // TRACES)):
        started = perf_counter()
        lineage = trace(app_url, RUN_ID, f"fill-{number}")
        times.append(perf_counter() - started)
        assert lineage is not None
    return {"trace_p50_ms": median(times) * 1e3, "trace_p99_ms": percentile(times, 0.99) * 1e3}


def _print(found: dict[str, float], rows: int) -> None:
    lines = [
        ["batch of 500: COPY alone", "bare_rows_per_s", "bare_p50_ms", "bare_p99_ms"],
        ["batch of 500: insert", "insert_rows_per_s", "insert_p50_ms", "insert_p99_ms"],
        ["batch of 500: decode, chain, insert", "store_rows_per_s", "", "whole_p99_ms"],
        ["read every row", "read_rows_per_s", "", ""],
        ["verify every row", "verify_rows_per_s", "", ""],
        ["trace one fill", "", "trace_p50_ms", "trace_p99_ms"],
    ]
    text = [[name, *(_figure(found, key) for key in keys)] for name, *keys in lines]
    share = found["insert_rows_per_s"] / found["bare_rows_per_s"]
    kept = found["verify_rows_per_s"] / found["read_rows_per_s"]
    notes = [f"  insert / bare COPY {share:.2f}, verify / bare reading {kept:.2f}"]
    head = ["", "rows/s", "p50 ms", "p99 ms"]
    print(table(f"Audit: {rows:,} rows", head, text, notes), flush=True)


def _figure(found: dict[str, float], key: str) -> str:
    if not key:
        return ""
    return f"{found[key]:,.1f}" if key.endswith("_ms") else f"{found[key]:,.0f}"


# ---- records


def _record(topic: str, offset: int, event_id: str, cause: str, record: Decision | Fill) -> Record:
    texts = {"event_id": event_id, "causation_id": cause, "producer": "bench", "run_id": RUN_ID}
    return Record(
        topic=topic,
        partition=0,
        offset=offset,
        append_ms=START_NS // 1_000_000 + offset,
        key=ACCOUNT.encode(),
        headers=pack_headers([(name, text.encode()) for name, text in texts.items()]),
        value=encode(record),
    )


def _decision(number: int) -> Decision:
    return replace(DECISION, decision_id=f"decision-{number}", cycle_ns=number)


def _fill(number: int) -> Fill:
    name = f"fill-{number}"
    return replace(FILL, fill_id=name, decision_id=f"decision-{number}", client_order_id=name)


def _plain(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


DECISION = Decision(
    decision_id="",
    account_id=ACCOUNT,
    group_id=GROUP,
    cycle_ns=0,
    index=0,
    kind=DecisionKind.TARGET_WEIGHT,
    instrument_id=INSTRUMENTS[0],
    target_weight=Decimal("0.025"),
    order_type=OrderType.MARKET,
    time_in_force=TimeInForce.DAY,
    is_reduce_only=False,
    is_post_only=False,
    confidence=0.7,
    reference_price=100.5,
    model="",
    is_offline_model=False,
    reason="three of four triggers are long",
    ts_event_ns=START_NS,
    ts_init_ns=START_NS,
)
FILL = Fill(
    fill_id="",
    trade_id="t",
    client_order_id="",
    venue_order_id="v",
    account_id=ACCOUNT,
    group_id=GROUP,
    instrument_id=INSTRUMENTS[0],
    approval_id="a",
    decision_id="",
    venue="SIM",
    side=Side.BUY,
    quantity=ONE,
    price=Decimal("100.5"),
    commission=Decimal("0.01"),
    currency="USD",
    liquidity_side=LiquiditySide.TAKER,
    arrival_price=Decimal("100.5"),
    leaves_quantity=Decimal(0),
    ts_event_ns=START_NS,
    ts_init_ns=START_NS,
)
