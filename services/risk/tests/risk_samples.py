"""A small world for risk, and a driver that steps the core as the real ones do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from map_order import reversed_maps

from tapeline.contracts import topics
from tapeline.contracts.accounts import PositionCorrection
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
from tapeline.contracts.control import Flatten, ScopeKind, SetLiveSwitch, SetTradingState
from tapeline.contracts.market import MarkPrice
from tapeline.contracts.orders import (
    ApprovedOrder,
    Fill,
    LiquiditySide,
    Mode,
    OrderStatus,
    OrderType,
    OrderUpdate,
    Side,
    TimeInForce,
)
from tapeline.contracts.risk import Denial, TradingState
from tapeline.risk.core import MARKET, OF_EXECUTION, RiskCore
from tapeline.risk.state import RiskState
from tapeline.runtime.codec import Decoder, encode
from tapeline.runtime.core import Context, Input, Output, TimerFired

D = Decimal
SECOND = 1_000_000_000
NOW = 1_500_000_000 * SECOND
SPY, EWG, EURUSD = "SPY.ARCA", "EWG.XETR", "EURUSD.IDEAL"
ACCOUNT, GROUP = "PAPER-1", "momentum"
CONTEXT = Context(run_id="run-1", service="risk", shard=0, mode="PAPER")


def instrument(instrument_id: str = SPY, **changes: Any) -> Instrument:
    values: dict[str, Any] = {
        "instrument_id": instrument_id,
        "symbol": instrument_id.partition(".")[0],
        "venue": "PAPER",
        "asset_class": AssetClass.EQUITY,
        "currency": "USD",
        "tick_size": D("0.01"),
        "lot_size": D("1"),
        "quantity_min": D("1"),
        "notional_min": D("100"),
        "multiplier": D(1),
        "sector": "INDEX",
        "calendar": "XNYS",
        "is_permitted": True,
        "version": 1,
    }
    return Instrument(**{**values, **changes})


def account(account_id: str = ACCOUNT, **changes: Any) -> Account:
    values: dict[str, Any] = {
        "account_id": account_id,
        "shard": 0,
        "base_currency": "USD",
        "initial_cash": D(100_000),
        "venue": "PAPER",
        "mode": Mode.PAPER,
        "version": 1,
    }
    return Account(**{**values, **changes})


def mandate(account_id: str = ACCOUNT, **changes: Any) -> Mandate:
    values: dict[str, Any] = {
        "account_id": account_id,
        "instruments": (SPY, EWG),
        "confidence_min": 0.5,
        "decision_age_max_ns": 10 * SECOND,
        "mark_age_max_ns": 30 * SECOND,
        "price_collar": D("0.05"),
        "protective_distance_max": D("0.20"),
        "position_weight_max": D("0.05"),
        "gross_exposure_max": D("1"),
        "leverage_max": D("1"),
        "cash_reserve_min": D("0.10"),
        "daily_loss_max": D("0.02"),
        "drawdown_max": D("0.10"),
        "approval_ttl_ns": 5 * SECOND,
        "allows_short": False,
        "order_types": ("BRACKET",),
        "version": 1,
    }
    return Mandate(**{**values, **changes})


def group(group_id: str = GROUP, **changes: Any) -> TradingGroup:
    values: dict[str, Any] = {
        "group_id": group_id,
        "kind": GroupKind.ALGORITHMIC,
        "implementation": "weighted",
        "account_id": ACCOUNT,
        "universe": "all",
        "instruments": (SPY, EWG),
        "trigger_weights": {},
        "target_weight": D("0.05"),
        "parameters": {},
        "is_enabled": True,
        "version": 1,
    }
    return TradingGroup(**{**values, **changes})


def venue(**changes: Any) -> Venue:
    values: dict[str, Any] = {
        "venue": "PAPER",
        "adapter": "paper",
        "maker_fee_rate": D(0),
        "taker_fee_rate": D(0),
        "half_spread_rate": D(0),
        "latency_ns": 0,
        "participation_max": D(0),
        "version": 1,
    }
    return Venue(**{**values, **changes})


def fx() -> Instrument:
    return instrument(EURUSD, symbol="EURUSD", asset_class=AssetClass.FX)


def mark(instrument_id: str = SPY, price: float = 100.0, ts_ns: int = NOW) -> MarkPrice:
    return MarkPrice(
        instrument_id=instrument_id, feed="test", price=price, ts_event_ns=ts_ns, ts_init_ns=ts_ns
    )


def decision(**changes: Any) -> Decision:
    """A target of 4 % in SPY, unless told otherwise."""
    values: dict[str, Any] = {
        "account_id": ACCOUNT,
        "group_id": GROUP,
        "cycle_ns": NOW,
        "index": 0,
        "kind": DecisionKind.TARGET_WEIGHT,
        "instrument_id": SPY,
        "target_weight": D("0.04"),
        "order_type": OrderType.MARKET,
        "time_in_force": TimeInForce.DAY,
        "is_reduce_only": False,
        "is_post_only": False,
        "confidence": 0.8,
        "reference_price": 100.0,
        "model": "",
        "is_offline_model": False,
        "reason": "test",
        "ts_event_ns": NOW,
        "ts_init_ns": NOW,
    }
    values.update(changes)
    values.setdefault("decision_id", f"{values['group_id']}-{values['cycle_ns']}-{values['index']}")
    return Decision(**values)


def order(side: Side, quantity: str, **changes: Any) -> Decision:
    return decision(
        kind=DecisionKind.ORDER, target_weight=None, side=side, quantity=D(quantity), **changes
    )


def switch(state: TradingState, sequence: int = 1, **changes: Any) -> SetTradingState:
    values: dict[str, Any] = {
        "scope": ScopeKind.ALL,
        "scope_id": "",
        "state": state,
        "sequence": sequence,
        "operator": "ada",
        "reason": "drill",
        "issued_ns": NOW,
        "run_id": "run-1",
        "key_id": "ada",
        "signature": b"",
    }
    return SetTradingState(**{**values, **changes})


def live_switch(is_on: bool = True, sequence: int = 1, **changes: Any) -> SetLiveSwitch:
    values: dict[str, Any] = {
        "scope": ScopeKind.ACCOUNT,
        "scope_id": ACCOUNT,
        "is_on": is_on,
        "sequence": sequence,
        "operator": "ada",
        "reason": "drill",
        "issued_ns": NOW,
        "run_id": "run-1",
        "key_id": "ada",
        "signature": b"",
    }
    return SetLiveSwitch(**{**values, **changes})


def command(kind: Any = Flatten, **changes: Any) -> Any:
    values: dict[str, Any] = {
        "command_id": "command-1",
        "scope": ScopeKind.ALL,
        "scope_id": "",
        "expires_ns": NOW + SECOND,
        "sequence": 1,
        "operator": "ada",
        "reason": "drill",
        "issued_ns": NOW,
        "run_id": "run-1",
        "key_id": "ada",
        "signature": b"",
    }
    return kind(**{**values, **changes})


def flatten(**changes: Any) -> Flatten:
    found: Flatten = command(**changes)
    return found


def fill_of(
    approved: ApprovedOrder, quantity: str | Decimal, price: str | Decimal, number: int = 0
) -> Fill:
    """What execution reports, free of commission."""
    asked, approval = approved.order, approved.approval
    quantity, price = D(quantity), D(price)
    return Fill(
        fill_id=f"{approval.approval_id}/{number}",
        trade_id=f"{number}",
        client_order_id=asked.client_order_id,
        venue_order_id="v",
        account_id=asked.account_id,
        group_id=asked.group_id,
        instrument_id=asked.instrument_id,
        approval_id=approval.approval_id,
        decision_id=approval.decision_id,
        venue=asked.venue,
        side=asked.side,
        quantity=quantity,
        price=price,
        commission=D(0),
        currency="USD",
        liquidity_side=LiquiditySide.TAKER,
        arrival_price=asked.arrival_price,
        leaves_quantity=D(0),
        ts_event_ns=NOW,
        ts_init_ns=NOW,
    )


def update_of(
    approved: ApprovedOrder,
    status: OrderStatus = OrderStatus.FILLED,
    filled: str | Decimal = "0",
    *,
    is_terminal: bool = True,
) -> OrderUpdate:
    asked, approval = approved.order, approved.approval
    return OrderUpdate(
        client_order_id=asked.client_order_id,
        venue_order_id="v",
        account_id=asked.account_id,
        group_id=asked.group_id,
        instrument_id=asked.instrument_id,
        approval_id=approval.approval_id,
        decision_id=approval.decision_id,
        status=status,
        previous_status=OrderStatus.SUBMITTED,
        is_terminal=is_terminal,
        code="",
        reason="",
        quantity=asked.quantity,
        filled_quantity=D(filled),
        average_price=None,
        command=None,
        ts_event_ns=NOW,
        ts_init_ns=NOW,
    )


TOPIC_OF = {record: name for name, topic in topics.TOPICS.items() for record in topic.records}


def through_the_wire(record: Any) -> Any:
    """A record as the other side reads it."""
    return Decoder((record.AVRO,)).decode(encode(record))


class Desk:
    """Steps the core: decide, evolve over the input, evolve over what was said, as recorded."""

    def __init__(self, context: Context = CONTEXT) -> None:
        self.core = RiskCore(context)
        self.state: RiskState = self.core.initial()
        self.now_ns = NOW
        self.offset = 0
        self.history: list[tuple[Input, tuple[Output, ...]]] = []
        """every input with what was said about it"""

    def tell(self, *records: Any, verdict: str = "", topic: str = "") -> list[Any]:
        """Steps records and returns what the core says, without envelopes."""
        said = []
        for record in records:
            said += [output.record for output in self.step(record, verdict, topic)]
        return said

    def step(self, record: Any, verdict: str = "", topic: str = "") -> tuple[Output, ...]:
        """Steps one record."""
        if hasattr(record, "AVRO"):
            record = through_the_wire(record)
            topic = topic or TOPIC_OF[record.AVRO]
        event = Input(
            record=record,
            topic=topic,
            partition=0,
            offset=self.offset,
            event_id=getattr(record, "decision_id", f"event-{self.offset}"),
            session_ns=self.now_ns,
            verdict=verdict,
        )
        self.offset += 1
        as_said = self._as_said(event)
        before = self.core.dump(self.state)
        outputs = tuple(self.core.decide(self.state, event))
        assert before == self.core.dump(self.state), "deciding changes nothing"
        for said, _ in as_said:
            assert outputs == said, "a snapshot changes nothing that is said"
        if type(event.record) in (*MARKET, *OF_EXECUTION):
            long_way = tuple(self.core._decide(self.state, event))
            assert outputs == long_way, "what is passed over would have said nothing"
        self.state = self.core.evolve(self.state, event)
        recorded = []
        for output in outputs:
            heard = replace(output, record=through_the_wire(output.record))
            self.state = self.core.evolve(self.state, heard)
            recorded.append(heard)
        self.history.append((event, tuple(recorded)))
        for _, state in as_said:
            assert state == self.state, "a shard that goes on is where one that recovers comes to"
        return tuple(recorded)

    def _as_said(self, event: Input) -> list[tuple[tuple[Output, ...], RiskState]]:
        """What a shard says that comes from a snapshot, and its state when it evolves over the very
        outputs that it said; those of this desk have been over the wire. Of two orders that the
        maps of a snapshot may come in at least one is not that of this desk."""
        found = []
        for data in (dumped := self.core.dump(self.state), reversed_maps(dumped)):
            state = self.core.load(data)
            outputs = tuple(self.core.decide(state, event))
            for item in (event, *outputs):
                state = self.core.evolve(state, item)
            found.append((outputs, state))
        return found

    def fire(self) -> list[Any]:
        """Fires the timer if it is due, as a driver does at the end of a batch."""
        due_ns = self.core.next_due_ns(self.state)
        if due_ns is None or due_ns > self.now_ns:
            return []
        return self.tell(TimerFired(ts_event_ns=self.now_ns))

    def approved(self, asked: Decision) -> ApprovedOrder:
        """The approval of a decision that must be approved."""
        said = self.tell(asked)
        assert said, "no answer"
        assert isinstance(said[0], ApprovedOrder), said[0]
        return said[0]

    def denied(self, asked: Decision, verdict: str = "") -> Denial:
        """The denial of a decision that must be denied."""
        said = self.tell(asked, verdict=verdict)
        assert len(said) == 1, said
        assert isinstance(said[0], Denial), said[0]
        return said[0]

    def hold(
        self, quantity: str, price: str = "100", group_id: str = GROUP, instrument_id: str = SPY
    ) -> None:
        """Gives a group a position without asking the core."""
        self.tell(correction(quantity, price, group_id, instrument_id))


def correction(
    quantity: str, price: str = "100", group_id: str = GROUP, instrument_id: str = SPY
) -> PositionCorrection:
    return PositionCorrection(
        correction_id="c",
        account_id=ACCOUNT,
        group_id=group_id,
        instrument_id=instrument_id,
        quantity=D(quantity),
        price=D(price),
        reason="test",
        ts_event_ns=NOW,
        ts_init_ns=NOW,
    )


def desk(*changes: Any, marks: Sequence[MarkPrice] = (mark(),)) -> Desk:
    """A desk whose world is complete; `changes` are further config records, one version on."""
    found = Desk()
    found.tell(instrument(), instrument(EWG), account(), mandate(), group(), venue())
    found.tell(*(replace(change, version=2) for change in changes))
    found.tell(*marks)
    return found
