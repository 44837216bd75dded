"""The small world of a simulation: what is configured, and plain makers of its records."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tapeline.contracts import topics
from tapeline.contracts.agents import Decision, DecisionKind
from tapeline.contracts.config import (
    Account,
    AssetClass,
    GroupKind,
    Instrument,
    Mandate,
    TradingGroup,
    Venue,
)
from tapeline.contracts.control import ScopeKind
from tapeline.contracts.market import AggressorSide, MarkPrice, Quote, TickOrigin, Trade
from tapeline.contracts.orders import Mode, OrderType, TimeInForce
from tapeline.runtime.codec import encode
from tapeline.runtime.ids import content_id
from tapeline.runtime.log import Message
from tapeline.runtime.partition import partition_of

D = Decimal
MILLI, SECOND = 1_000_000, 1_000_000_000
MINUTE, HOUR = 60 * SECOND, 3600 * SECOND
T0 = 17_000 * 24 * HOUR + 15 * HOUR
RUN = "simulation"
PARTITIONS = {
    **dict.fromkeys(topics.TOPICS, 1),
    topics.TICKS: 2,
    topics.MARKS: 2,
    topics.JOURNAL: 2,
    topics.SNAPSHOTS: 2,
}
SPY, OIL, EWG, EURUSD = "SPY.ARCA", "OIL.SIM", "EWG.XETR", "EURUSD.IDEAL"
TRADED = (SPY, OIL, EWG)
START_PRICES = {SPY: 100.0, OIL: 20.0, EWG: 30.0, EURUSD: 1.25}
ACCOUNTS = ("A", "B")
FOREIGN = "C"
"""lives on another shard"""
GROUPS = {"g1": "A", "g2": "A", "g3": "B"}
MANUAL = "MANUAL"
FORGED = "forged-"
"""begins the event id of what no key of ours made; cores take no notice of it"""
PAPER = "PAPER"
START_CASH = D(100_000)


def instrument(instrument_id: str, **changes: Any) -> Instrument:
    values: dict[str, Any] = {
        "instrument_id": instrument_id,
        "symbol": instrument_id.partition(".")[0],
        "venue": PAPER,
        "asset_class": AssetClass.EQUITY,
        "currency": "USD",
        "tick_size": D("0.01"),
        "lot_size": D(1),
        "quantity_min": D(1),
        "notional_min": D(50),
        "multiplier": D(1),
        "sector": "INDEX",
        "calendar": "24/7",
        "is_permitted": True,
        "version": 1,
    }
    return Instrument(**{**values, **changes})


def account(account_id: str, **changes: Any) -> Account:
    values: dict[str, Any] = {
        "account_id": account_id,
        "shard": 0,
        "base_currency": "USD",
        "initial_cash": START_CASH,
        "venue": PAPER,
        "mode": Mode.PAPER,
        "version": 1,
    }
    return Account(**{**values, **changes})


def mandate(account_id: str, **changes: Any) -> Mandate:
    values: dict[str, Any] = {
        "account_id": account_id,
        "instruments": TRADED,
        "confidence_min": 0.2,
        "decision_age_max_ns": 30 * SECOND,
        "mark_age_max_ns": MINUTE,
        "price_collar": D("0.05"),
        "protective_distance_max": D("0.2"),
        "position_weight_max": D("0.3"),
        "gross_exposure_max": D("0.8"),
        "leverage_max": D("0.9"),
        "cash_reserve_min": D("0.1"),
        "daily_loss_max": D("0.2"),
        "drawdown_max": D("0.5"),
        "approval_ttl_ns": 5 * SECOND,
        "allows_short": account_id == "A",
        "version": 1,
    }
    return Mandate(**{**values, **changes})


def group(group_id: str, **changes: Any) -> TradingGroup:
    values: dict[str, Any] = {
        "group_id": group_id,
        "kind": GroupKind.ALGORITHMIC,
        "implementation": "weighted",
        "account_id": GROUPS[group_id],
        "universe": "all",
        "instruments": TRADED,
        "trigger_weights": {},
        "target_weight": D("0.1"),
        "parameters": {},
        "is_enabled": True,
        "version": 1,
    }
    return TradingGroup(**{**values, **changes})


def venue(**changes: Any) -> Venue:
    values: dict[str, Any] = {
        "venue": PAPER,
        "adapter": "paper",
        "maker_fee_rate": D("-0.0001"),
        "taker_fee_rate": D("0.0005"),
        "half_spread_rate": D("0.0005"),
        "latency_ns": 150 * MILLI,
        "participation_max": D("0.5"),
        "version": 1,
    }
    return Venue(**{**values, **changes})


def configuration(*, is_live: bool = False) -> list[Any]:
    """Everything that is configured before the first second; live, the venue is outside."""
    mode = Mode.LIVE if is_live else Mode.PAPER
    return [
        instrument(SPY),
        instrument(OIL, multiplier=D(10), asset_class=AssetClass.FUTURE, sector="ENERGY"),
        instrument(EWG, currency="EUR", lot_size=D("0.1"), quantity_min=D("0.1"), sector="EUROPE"),
        instrument(EURUSD, symbol="EURUSD", asset_class=AssetClass.FX, is_permitted=False),
        venue(adapter="outside" if is_live else "paper"),
        *(account(name, mode=mode) for name in ACCOUNTS),
        account(FOREIGN, shard=1, mode=mode),
        *(mandate(name) for name in (*ACCOUNTS, FOREIGN)),
        *(group(name) for name in GROUPS),
    ]


def decision(account_id: str, group_id: str, instrument_id: str, **changes: Any) -> Decision:
    """A decision without a wish; `changes` say kind, numbers and times."""
    values: dict[str, Any] = {
        "account_id": account_id,
        "group_id": group_id,
        "instrument_id": instrument_id,
        "order_type": OrderType.MARKET,
        "time_in_force": TimeInForce.DAY,
        "is_reduce_only": False,
        "is_post_only": False,
        "confidence": 0.9,
        "reference_price": 1.0,
        "model": "",
        "is_offline_model": False,
        "reason": "simulated",
        "kind": DecisionKind.TARGET_WEIGHT,
        **changes,
    }
    return Decision(**values)


def trade(instrument_id: str, price: float, size: float, now_ns: int, number: int) -> Trade:
    return Trade(
        instrument_id=instrument_id,
        feed="sim",
        feed_sequence=number,
        trade_id="",
        price=price,
        size=size,
        side=AggressorSide.NONE,
        origin=TickOrigin.SYNTHETIC,
        quality=(),
        ts_event_ns=now_ns,
        ts_init_ns=now_ns,
    )


def quote(instrument_id: str, price: float, size: float, now_ns: int, number: int) -> Quote:
    return Quote(
        instrument_id=instrument_id,
        feed="sim",
        feed_sequence=number,
        bid_price=round(price * 0.9995, 4),
        ask_price=round(price * 1.0005, 4),
        bid_size=size,
        ask_size=size,
        origin=TickOrigin.SYNTHETIC,
        quality=(),
        ts_event_ns=now_ns,
        ts_init_ns=now_ns,
    )


def mark(instrument_id: str, price: float, ts_ns: int) -> MarkPrice:
    return MarkPrice(
        instrument_id=instrument_id, feed="sim", price=price, ts_event_ns=ts_ns, ts_init_ns=ts_ns
    )


TOPIC_OF = {record: name for name, topic in topics.TOPICS.items() for record in topic.records}


def message(record: Any, event_id: str, producer: str, topic: str = "") -> Message:
    """A record as a plain producer sends it; bulk records carry no headers."""
    topic = topic or TOPIC_OF[record.AVRO]
    by = "instrument_id" if topics.TOPICS[topic].is_bulk else "account_id"
    key = str(getattr(record, by, ""))
    partition = partition_of(key, PARTITIONS[topic]) if PARTITIONS[topic] > 1 else 0
    headers: tuple[tuple[str, bytes], ...] = ()
    if not topics.TOPICS[topic].is_bulk:
        headers = (
            ("event_id", (event_id or content_id(f"{producer}/{record}")).encode()),
            ("causation_id", b""),
            ("correlation_id", event_id.encode()),
            ("producer", producer.encode()),
            ("run_id", RUN.encode()),
        )
    return Message(topic, partition, key.encode(), encode(record), headers)


def scopes_of(account_id: str, group_id: str, instrument_id: str, venue_name: str) -> list[str]:
    """Every scope that an order is in, as the kill switch names them."""
    return [
        f"{ScopeKind.ALL.value}/",
        f"{ScopeKind.ACCOUNT.value}/{account_id}",
        f"{ScopeKind.GROUP.value}/{group_id}",
        f"{ScopeKind.STRATEGY.value}/{group_id}",
        f"{ScopeKind.INSTRUMENT.value}/{instrument_id}",
        f"{ScopeKind.VENUE.value}/{venue_name}",
    ]
