"""A run with an external venue: real Kafka, real PostgreSQL, execution as a process of its own.

The test stands in for risk: it seals approvals and shows signs of life. What it asks for and what
comes of it goes over the topics, as always.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

from adverse_process import HERE, AdverseVenue
from confluent_kafka import Consumer, Producer
from confluent_kafka import TopicPartition as KafkaPlace

from tapeline.accounting.numbers import CONTEXT, ZERO
from tapeline.audit.keys import create_key
from tapeline.contracts import topics
from tapeline.contracts.accounts import CashAdjustment, FundingPayment, PositionCorrection
from tapeline.contracts.config import (
    Account,
    AssetClass,
    GroupKind,
    Instrument,
    TradingGroup,
    Venue,
)
from tapeline.contracts.control import ScopeKind, SetLiveSwitch, SetTradingState
from tapeline.contracts.market import AggressorSide, TickOrigin, Trade
from tapeline.contracts.orders import (
    Approval,
    ApprovedOrder,
    Fill,
    Mode,
    Order,
    OrderAction,
    OrderType,
    OrderUpdate,
    Side,
    TimeInForce,
)
from tapeline.contracts.risk import TradingState
from tapeline.contracts.system import Watermark
from tapeline.execution.intents.migrate import migrate as migrate_intents
from tapeline.risk.core import RiskCore
from tapeline.runtime.codec import Decoder, encode
from tapeline.runtime.core import Context, Input
from tapeline.runtime.kafka import confluent_config
from tapeline.runtime.keys import (
    OPERATOR_FOLDER,
    SEAL_FOLDER,
    KeyRing,
    create_secret,
    create_signer,
)
from tapeline.runtime.log_reader import raw_of
from tapeline.runtime.settings import KafkaSettings
from tapeline.runtime.signing import seal, sign
from tapeline.runtime.topology import Topology, create_topics

SECOND = 1_000_000_000
ACCOUNT, GROUP, INSTRUMENT, VENUE, CURRENCY = "LIVE-1", "g1", "SYNA.X", "ADVERSE", "USD"
ONE = Topology(instrument=1, account=1, universe=1, service=2, one=1)
FOLLOWED = (
    topics.ORDER_UPDATES,
    topics.FILLS,
    topics.ACCOUNT_EVENTS,
    topics.VENUE_REPORTS,
    topics.INCIDENTS,
)
BEAT_S = 0.3
READY_S = 240.0
Figures = dict[str, Decimal]
_numbers = count(1)


@dataclass(frozen=True)
class Found:
    """One committed record, and when the test saw it."""

    topic: str
    offset: int
    record: Any
    seen_s: float
    raw: Any


@dataclass(kw_only=True)
class Desk:
    """One run."""

    folder: Path
    bootstrap: str
    admin_url: str
    venue: AdverseVenue
    run_id: str = ""
    mode: Mode = Mode.LIVE
    receive_window_s: float = 2.0
    timeout_s: float = 0.2
    requests_per_s: int = 200
    ttl_s: float = 5.0
    found: list[Found] = field(default_factory=list)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    intents_url: str = ""
    is_beating: bool = True

    def __post_init__(self) -> None:
        self.run_id = self.run_id or f"venues-{os.getpid()}-{next(_numbers)}"
        self.settings = KafkaSettings(
            kafka_bootstrap_servers=self.bootstrap, topic_prefix=f"{self.run_id}."
        )
        self.keys = self.folder / "keys"
        create_secret(self.keys / SEAL_FOLDER, "run")
        create_key(self.keys / "audit", "run")
        self.operator = create_signer(self.keys / "private", self.keys / OPERATOR_FOLDER, "op")
        self.ring = KeyRing.from_folder(self.keys / SEAL_FOLDER)
        create_topics(self.settings, ONE)
        self.producer = Producer(confluent_config(self.settings, enable_idempotence=True))
        self.intents_url = migrate_intents(self.admin_url)
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._beat, daemon=True),
            threading.Thread(target=self._follow, daemon=True),
        ]
        for record in self.configuration():
            self.say(topics.CONFIG, record, type(record).__name__)
        self.live(True)
        for thread in self._threads:
            thread.start()

    # ---- what the run is made of

    def configuration(self) -> tuple[Any, ...]:
        zero = Decimal(0)
        venue = Venue(
            venue=VENUE,
            adapter="adverse",
            maker_fee_rate=zero,
            taker_fee_rate=zero,
            half_spread_rate=zero,
            latency_ns=0,
            participation_max=zero,
            version=1,
            receive_window_ns=round(self.receive_window_s * SECOND),
            requests_per_s=self.requests_per_s,
            address=f"{self.venue.address}?timeout_s={self.timeout_s}",
        )
        instrument = Instrument(
            instrument_id=INSTRUMENT,
            symbol="SYNA",
            venue=VENUE,
            asset_class=AssetClass.CRYPTO,
            currency=CURRENCY,
            tick_size=Decimal("0.01"),
            lot_size=Decimal("0.0001"),
            quantity_min=Decimal("0.0001"),
            notional_min=zero,
            multiplier=Decimal(1),
            sector="",
            calendar="24/7",
            is_permitted=True,
            version=1,
        )
        account = Account(
            account_id=ACCOUNT,
            shard=0,
            base_currency=CURRENCY,
            initial_cash=Decimal(100_000),
            venue=VENUE,
            mode=self.mode,
            version=1,
        )
        group = TradingGroup(
            group_id=GROUP,
            kind=GroupKind.ALGORITHMIC,
            implementation="weighted",
            account_id=ACCOUNT,
            universe="all",
            instruments=(INSTRUMENT,),
            trigger_weights={},
            target_weight=zero,
            parameters={},
            is_enabled=True,
            version=1,
        )
        return (venue, instrument, account, group)

    def say(self, topic: str, record: Any, key: str, event_id: str = "") -> None:
        event_id = event_id or f"{key}-{time.time_ns()}"
        self.producer.produce(
            self.settings.topic_prefix + topic,
            encode(record),
            key.encode(),
            0,
            headers=[
                ("event_id", event_id.encode()),
                ("causation_id", b""),
                ("correlation_id", event_id.encode()),
                ("producer", b"test"),
                ("run_id", self.run_id.encode()),
            ],
        )
        self.producer.flush(60)

    def trade(self, price: str) -> None:
        """A tick of the run's own feed."""
        now_ns = time.time_ns()
        record = Trade(
            instrument_id=INSTRUMENT,
            feed="test",
            feed_sequence=now_ns,
            trade_id="",
            price=float(price),
            size=0.0,
            side=AggressorSide.NONE,
            origin=TickOrigin.EXCHANGE,
            quality=(),
            ts_event_ns=now_ns,
            ts_init_ns=now_ns,
        )
        self.say(topics.TICKS, record, INSTRUMENT)

    def live(self, is_on: bool) -> None:
        """The account's signed switch."""
        now_ns = time.time_ns()
        record = SetLiveSwitch(
            scope=ScopeKind.ACCOUNT, scope_id=ACCOUNT, is_on=is_on, **self._signed(now_ns)
        )
        self.say(topics.CONTROL, sign(record, self.operator), f"live/{ACCOUNT}")

    def switch(self, state: TradingState) -> None:
        """The trading state of everything."""
        now_ns = time.time_ns()
        record = SetTradingState(
            scope=ScopeKind.ALL, scope_id="", state=state, **self._signed(now_ns)
        )
        self.say(topics.CONTROL, sign(record, self.operator), "all")

    def _signed(self, now_ns: int) -> dict[str, Any]:
        return {
            "sequence": now_ns,
            "operator": "op",
            "reason": "test",
            "issued_ns": now_ns,
            "run_id": self.run_id,
            "key_id": "",
            "signature": b"",
        }

    def control(self, make: Callable[..., Any], key: str, **values: Any) -> None:
        """Any signed control record."""
        record = make(**values, **self._signed(time.time_ns()))
        self.say(topics.CONTROL, sign(record, self.operator), key)

    def approve(self, name: str, quantity: str = "1", **changes: Any) -> ApprovedOrder:
        """An order as risk would approve it; it is on its way when this returns."""
        action = changes.pop("action", OrderAction.OPEN)
        approval_id = changes.pop("approval_id", f"approval-{name}")
        now_ns = time.time_ns()
        limit = changes.pop("limit", None)
        order = Order(
            client_order_id=name,
            account_id=ACCOUNT,
            group_id=GROUP,
            instrument_id=INSTRUMENT,
            venue=VENUE,
            side=Side.BUY,
            order_type=OrderType.LIMIT if limit else OrderType.MARKET,
            quantity=Decimal(quantity),
            limit_price=Decimal(limit) if limit else None,
            time_in_force=TimeInForce.GTC,
            is_reduce_only=False,
            is_post_only=False,
            arrival_price=Decimal(100),
        )
        expires_ns = now_ns + round(self.ttl_s * SECOND)
        approved = ApprovedOrder(
            action=action,
            order=replace(order, **changes),
            approval=Approval(
                approval_id=approval_id,
                decision_id=f"decision-{approval_id}",
                run_id=self.run_id,
                mode=self.mode,
                account_id=ACCOUNT,
                key_id="",
                issued_ns=now_ns,
                expires_ns=expires_ns,
                last_send_ns=expires_ns,
                child_count=1,
                mac=b"",
            ),
            ts_event_ns=now_ns,
            ts_init_ns=now_ns,
        )
        approved = seal(approved, self.ring)
        self.say(topics.APPROVED_ORDERS, approved, ACCOUNT, approval_id)
        return approved

    # ---- processes

    def start(self, failpoint: str = "", **variables: str) -> subprocess.Popen[bytes]:
        """Execution, until it is stopped; returns when its shard works, or has died trying."""
        beats = self._pulses()
        process = self.launch(failpoint, **variables)
        deadline = time.monotonic() + READY_S
        while self._pulses() == beats and process.poll() is None:
            assert time.monotonic() < deadline, self.output()[-3000:]
            time.sleep(0.02)
        return process

    def launch(self, failpoint: str = "", **variables: str) -> subprocess.Popen[bytes]:
        """Execution, whether or not it finds what it needs."""
        port_file = self.folder / f"execution-{len(self.processes)}.port"
        environment = {
            **os.environ,
            "PYTHONPATH": str(HERE),
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap,
            "DATABASE_URL": self.intents_url,
            "TAPELINE_TOPIC_PREFIX": self.settings.topic_prefix,
            "TAPELINE_RUN_ID": self.run_id,
            "TAPELINE_MODE": self.mode.value,
            "TAPELINE_SHARDS": "0",
            "TAPELINE_KEYS_DIR": str(self.keys),
            "TAPELINE_HEALTH_PORT_FILE": str(port_file),
            "TAPELINE_EXECUTION_VENUE_POLL_MS": "200",
            "TAPELINE_EXECUTION_CLOCK_SKEW_MS_MAX": "100",
            "TAPELINE_EXECUTION_RISK_HEARTBEAT_MS_MAX": "3000",
            "FAILPOINT": failpoint,
            **variables,
        }
        with (self.folder / "execution.out").open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "tapeline.execution"],
                env=environment,
                stdout=output,
                stderr=output,
            )
        self.processes.append(process)
        return process

    def _pulses(self) -> int:
        return len([one for one in self.of(Watermark) if one.source == "execution/0"])

    def stop(self, process: subprocess.Popen[bytes], how: int = signal.SIGTERM) -> int:
        process.send_signal(how)
        return process.wait(60)

    def close(self) -> None:
        self._ended.set()
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        for thread in self._threads:
            thread.join(10)

    def output(self) -> str:
        path = self.folder / "execution.out"
        return path.read_text() if path.exists() else ""

    # ---- what comes of it

    def _beat(self) -> None:
        producer = Producer(confluent_config(self.settings))
        while not self._ended.wait(BEAT_S):
            if not self.is_beating:
                continue
            now_ns = time.time_ns()
            record = Watermark(
                source="risk/0",
                slice=now_ns // SECOND,
                is_paced=False,
                is_final=False,
                ts_event_ns=now_ns,
                ts_init_ns=now_ns,
            )
            topic = self.settings.topic_prefix + topics.APPROVED_ORDERS
            producer.produce(topic, encode(record), b"", 0)
            producer.poll(0)
        producer.flush(60)

    def _follow(self) -> None:
        consumer = Consumer(
            {
                **confluent_config(self.settings),
                "group.id": "test",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 20,
            }
        )
        prefix = self.settings.topic_prefix
        consumer.assign([KafkaPlace(prefix + name, 0, 0) for name in FOLLOWED])
        decoders = {name: Decoder(topics.TOPICS[name].records) for name in FOLLOWED}
        while not self._ended.is_set():
            for message in consumer.consume(500, 0.05):
                if message.error() is not None:
                    continue
                raw = raw_of(message, prefix)
                record = decoders[raw.topic].decode(raw.value)
                with self._lock:
                    self.found.append(Found(raw.topic, raw.offset, record, time.time(), raw))
        consumer.close()

    def of(self, kind: type[Any]) -> list[Any]:
        """Records of a type so far."""
        with self._lock:
            return [one.record for one in self.found if isinstance(one.record, kind)]

    def updates(self, name: str = "") -> list[OrderUpdate]:
        return [one for one in self.of(OrderUpdate) if name in ("", one.client_order_id)]

    def statuses(self, name: str) -> list[str]:
        return [one.status.value for one in self.updates(name)]

    def ended(self) -> dict[str, OrderUpdate]:
        """The terminal update of each approval."""
        return {one.approval_id: one for one in self.updates() if one.is_terminal}

    def until(self, is_so: Callable[[], Any], limit_s: float = 240.0) -> Any:
        """Waits for something; what a test waits for is the test's, not the machine's, speed."""
        deadline = time.monotonic() + limit_s
        while not (value := is_so()):
            for process in self.processes[-1:]:
                assert process.poll() in (None, -signal.SIGKILL, 0), self.output()[-3000:]
            assert time.monotonic() < deadline, self.output()[-3000:]
            time.sleep(0.02)
        return value

    # ---- books

    def settled(self, limit_s: float = 240.0) -> None:
        """Waits until our books are the venue's; says both where they do not become so."""
        deadline = time.monotonic() + limit_s
        while self.folded() != self.at_venue():
            assert time.monotonic() < deadline, (self.folded(), self.at_venue())
            time.sleep(0.05)

    def at_venue(self) -> Figures:
        """The venue's own ledger."""
        ledger = self.venue.ledger()
        held = ledger["positions"].get(ACCOUNT, {})
        figures = {name: Decimal(quantity) for name, quantity in held.items()}
        return plain({**figures, CURRENCY: Decimal(ledger["cash"].get(ACCOUNT, "100000"))})

    def folded(self) -> Figures:
        """Fills and account-events, added up here and now."""
        figures: Figures = {CURRENCY: Decimal(100_000)}

        def move(name: str, amount: Decimal) -> None:
            figures[name] = CONTEXT.add(figures.get(name, ZERO), amount)

        for record in self.of(object):
            match record:
                case Fill():
                    signed = record.quantity if record.side is Side.BUY else -record.quantity
                    move(record.instrument_id, signed)
                    move(CURRENCY, -CONTEXT.multiply(signed, record.price) - record.commission)
                case PositionCorrection():
                    move(record.instrument_id, record.quantity)
                    move(CURRENCY, -CONTEXT.multiply(record.quantity, record.price))
                case CashAdjustment() | FundingPayment():
                    move(record.currency, record.amount)
        return plain(figures)

    def at_risk(self) -> Figures:
        """Risk's ledger: its own core, over what execution said."""
        core = RiskCore(Context(run_id=self.run_id, service="risk", shard=0, mode=self.mode.value))
        state = core.initial()
        for record in self.configuration():
            state = core.evolve(state, Input(record=record, topic=topics.CONFIG))
        for one in list(self.found):
            if one.topic in (topics.FILLS, topics.ORDER_UPDATES, topics.ACCOUNT_EVENTS):
                event = Input(record=one.record, topic=one.topic, session_ns=time.time_ns())
                state = core.evolve(state, event)
        ledger = state.accounts[ACCOUNT].ledger
        figures = {name: ledger.net_quantity(name) for name in ledger.lines}
        return plain({**figures, **ledger.cash})


def plain(figures: Mapping[str, Decimal]) -> Figures:
    """A flat position is no position."""
    return {name: amount.normalize() for name, amount in sorted(figures.items()) if amount}


@contextmanager
def desk(
    folder: Path, bootstrap: str, admin_url: str, venue: AdverseVenue, **changes: Any
) -> Iterator[Desk]:
    """A run until the end of the block."""
    made = Desk(folder=folder, bootstrap=bootstrap, admin_url=admin_url, venue=venue, **changes)
    try:
        yield made
    finally:
        made.close()
