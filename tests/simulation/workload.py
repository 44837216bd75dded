"""What the outside world does to the money path, drawn from one random generator.

Market data, decisions, control, configuration, account events; each of them lost, repeated, late,
out of order, damaged or forged at times.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from random import Random
from typing import Any

from tapeline.contracts import topics
from tapeline.contracts.accounts import CashAdjustment, FundingPayment, PositionCorrection
from tapeline.contracts.agents import Decision, DecisionKind
from tapeline.contracts.config import RiskOverlay
from tapeline.contracts.control import (
    CancelAll,
    Flatten,
    ScopeKind,
    SetLiveSwitch,
    SetTradingState,
)
from tapeline.contracts.orders import ApprovedOrder, OrderType, Side, TimeInForce
from tapeline.contracts.risk import TradingState
from tapeline.runtime.codec import Decoder
from tapeline.runtime.log import Message
from tapeline.runtime.signing import sign, sign_as_author

from . import world
from .broker import Broker
from .keyring import Operators, Seals
from .world import D

APPROVALS = Decoder(topics.TOPICS[topics.APPROVED_ORDERS].records)
RECENT = 40
QUARANTINED = b"\xc3\x01 not a record"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """How often, per step, things happen; 1.0 is always."""

    decisions: float = 1.4
    control: float = 0.03
    configuration: float = 0.02
    account_events: float = 0.01
    forgeries: float = 0.08
    rotations: float = 0.004
    faults: float = 1.0
    """scales what is lost, repeated, late and damaged"""


class Workload:
    """Publishes one step's worth of the outside world at a time."""

    def __init__(
        self, chance: Random, broker: Broker, seals: Seals, operators: Operators, rates: Rates
    ) -> None:
        self.chance = chance
        self.broker = broker
        self.seals = seals
        self.operators = operators
        self.rates = rates
        self.now_ns = world.T0
        self.prices = dict(world.START_PRICES)
        self.is_ending = False
        self._count = 0
        self._index = 0
        self._versions: dict[str, int] = {}
        self._sequences: dict[str, int] = {}
        self._controls: list[Any] = []
        self._is_switched: dict[tuple[ScopeKind, str], TradingState] = {}
        self._recent: list[Message] = []
        self._late: list[tuple[int, Message]] = []

    # ---- steps

    def configure(self, *, is_live: bool = False) -> None:
        """What is there before the first second."""
        self._is_live = is_live
        for record in world.configuration(is_live=is_live):
            self._send(record)
        for account_id in world.ACCOUNTS if is_live else ():
            terms = self._signed_terms("SetLiveSwitch", ScopeKind.ACCOUNT, account_id, True)
            self._publish_control(SetLiveSwitch(**terms, is_on=True), True)

    def step(self, now_ns: int) -> None:
        """One step's worth, at a time of the outside world."""
        self.now_ns = now_ns
        self._market()
        if self.is_ending:
            return
        self._release_late()
        for _ in range(self._number(self.rates.decisions)):
            self._decide()
        for rate, act in (
            (self.rates.control, self._control),
            (self.rates.configuration, self._configure),
            (0 if self._is_live else self.rates.account_events, self._account_event),
            (self.rates.forgeries, self._forge),
            (self.rates.rotations, self._rotate),
        ):
            if self.chance.random() < rate:
                act()

    def end(self) -> None:
        """From here on only market data flows; what was late comes, and trading is resumed."""
        self.is_ending = True
        for _, message in self._late:
            self._publish(message)
        self._late.clear()
        for (scope, scope_id), state in sorted(self._is_switched.items()):
            if state is not TradingState.ACTIVE:
                self._switch(scope, scope_id, TradingState.ACTIVE)

    def cancel_all(self) -> None:
        """An operator cancels what is open, protective orders too."""
        self._command(CancelAll, ScopeKind.ALL, "", spares=False)

    # ---- market data

    def _market(self) -> None:
        for name in (*world.TRADED, world.EURUSD):
            if self.chance.random() < 0.25:
                continue
            price = self.prices[name] * (1 + self.chance.gauss(0, 0.002))
            self.prices[name] = price = round(min(max(price, 1.0), 1000.0), 4)
            self._tick(name, price)
            self._mark(name, price)

    def _tick(self, name: str, price: float) -> None:
        size = self.chance.choice((0.0, 3.0, 40.0, 500.0, 5000.0))
        make = world.trade if self.chance.random() < 0.6 else world.quote
        self._count += 1
        record = make(name, price, size, self.now_ns, self._count)
        if not self._fault(0.1):
            self._send(record)
        if self._fault(0.05):
            self._send(record)
        if self._fault(0.03):
            late_ns = self.now_ns - self.chance.randrange(30 * world.SECOND)
            self._send(make(name, price * 0.98, size, late_ns, self._count))

    def _mark(self, name: str, price: float) -> None:
        record = world.mark(name, price, self.now_ns)
        if not self._fault(0.15):
            self._send(record)
        if self._fault(0.05):
            self._send(record)
        if self._fault(0.03):
            old_ns = self.now_ns - self.chance.randrange(2 * world.MINUTE)
            self._send(world.mark(name, price * 1.3, old_ns))
        if self._fault(0.01):
            self._send(world.mark(name, self.chance.choice((1e-300, 1e300)), self.now_ns))
        if self._fault(0.005):
            self._send(world.mark(name, price * 2, self.now_ns + world.HOUR))

    # ---- decisions

    def _decide(self) -> None:
        chance = self.chance
        account_id = chance.choice((*world.ACCOUNTS * 15, world.FOREIGN, "nobody"))
        own = [name for name, of in world.GROUPS.items() if of == account_id]
        group_id = chance.choice((*own * 8, world.MANUAL, world.MANUAL, "g3"))
        name = chance.choice((*world.TRADED * 10, world.EURUSD, "NONE.SUCH"))
        self._index += 1
        terms = {
            "decision_id": f"d{self._index}",
            "cycle_ns": self.now_ns,
            "index": self._index,
            "ts_event_ns": self.now_ns,
            "ts_init_ns": self.now_ns,
            "confidence": chance.choice((0.1, *[0.5, 0.9] * 8)),
            **self._wish(name),
        }
        if self._fault(0.02):
            terms["ts_event_ns"] -= world.HOUR
        if self._fault(0.02):
            terms["cycle_ns"] += world.HOUR
        record = world.decision(account_id, group_id, name, **terms)
        if group_id == world.MANUAL:
            # By hand as `tapeline order` does it; a live run demands the signature.
            record = sign_as_author(replace(record, run_id=world.RUN), self.operators.known)
        self._send_decision(record)

    def _wish(self, name: str) -> dict[str, Any]:
        chance = self.chance
        kind = chance.random()
        tif = chance.choice(tuple(TimeInForce))
        more: dict[str, Any] = {
            "time_in_force": tif,
            "expire_time_ns": self.now_ns + chance.randrange(5 * world.MINUTE)
            if tif is TimeInForce.GTD
            else None,
        }
        if kind < 0.15:
            return {"kind": DecisionKind.CANCEL, "client_order_id": self._some_order()}
        if kind < 0.17:
            return {"kind": DecisionKind.AMEND, "client_order_id": self._some_order()}
        if kind < 0.55:
            weight = D(chance.randrange(-300, 500)) / 1000
            return {"target_weight": weight if chance.random() < 0.85 else D(0), **more}
        more |= {
            "kind": DecisionKind.ORDER,
            "side": chance.choice(tuple(Side)),
            "quantity": D(chance.choice((chance.randrange(1, 300), chance.randrange(1, 4000))))
            / 10,
            "is_reduce_only": chance.random() < 0.2,
        }
        if chance.random() < 0.5:
            off = chance.uniform(0.97, 1.03) if chance.random() < 0.9 else chance.uniform(0.9, 1.1)
            more |= {
                "order_type": OrderType.LIMIT,
                "limit_price": D(f"{self.prices.get(name, 1.0) * off:.2f}"),
                "is_post_only": chance.random() < 0.2,
            }
        if chance.random() < 0.05:
            more |= {"stop_loss_price": D(95), "take_profit_price": D(110)}
        return more

    def _some_order(self) -> str:
        orders = self._approvals()
        return orders[0].order.client_order_id if orders else "no-such-order"

    def _approvals(self) -> list[ApprovedOrder]:
        """Some of the last ones, in any order."""
        found = self.broker.behind((topics.APPROVED_ORDERS, 0), 0)
        found = found[-self.chance.choice((6, RECENT)) :]
        raws = self.chance.sample(found, min(4, len(found)))
        records = [APPROVALS.decode(raw.value) for raw in raws]
        return [record for record in records if isinstance(record, ApprovedOrder)]

    def _send_decision(self, record: Decision) -> None:
        made = world.message(record, record.decision_id, f"group/{record.group_id}")
        if self._fault(0.02):
            made = replace(made, value=QUARANTINED)
        if self._fault(0.03):
            return  # lost on its way to the broker
        if self._fault(0.05):
            self._late.append((self.now_ns + self.chance.randrange(20 * world.SECOND), made))
            return
        self._publish(made)
        self._recent = [*self._recent, made][-RECENT:]
        if self._fault(0.1):
            self._publish(self.chance.choice(self._recent))

    def _release_late(self) -> None:
        due = [message for due_ns, message in self._late if due_ns <= self.now_ns]
        self._late = [item for item in self._late if item[0] > self.now_ns]
        for message in due:
            self._publish(message)

    # ---- operators

    def _control(self) -> None:
        chance = self.chance
        if self._controls and chance.random() < 0.2:
            self._publish(chance.choice(self._controls))  # an old one again
            return
        scope, scope_id = self._scope()
        if chance.random() < 0.25:
            self._command(chance.choice((CancelAll, Flatten)), scope, scope_id)
            return
        switched = [place for place, state in self._is_switched.items() if state.value != "ACTIVE"]
        if switched and chance.random() < 0.8:
            self._switch(*chance.choice(switched), TradingState.ACTIVE)
            return
        self._switch(scope, scope_id, chance.choice((TradingState.HALTED, TradingState.REDUCING)))

    def _scope(self) -> tuple[ScopeKind, str]:
        chance = self.chance
        ids = {
            ScopeKind.ALL: "",
            ScopeKind.VENUE: world.PAPER,
            ScopeKind.ACCOUNT: chance.choice(world.ACCOUNTS),
            ScopeKind.GROUP: chance.choice((*world.GROUPS, world.MANUAL)),
            ScopeKind.STRATEGY: chance.choice(tuple(world.GROUPS)),
            ScopeKind.INSTRUMENT: chance.choice(world.TRADED),
        }
        scope = chance.choice((*ids, *tuple(ids)[2:] * 2))
        return scope, ids[scope]

    def _switch(self, scope: ScopeKind, scope_id: str, state: TradingState) -> None:
        is_genuine = self.is_ending or not self._fault(0.1)
        record = SetTradingState(
            **self._signed_terms("SetTradingState", scope, scope_id, is_genuine), state=state
        )
        if self._publish_control(record, is_genuine):
            self._is_switched[scope, scope_id] = state

    def _command(
        self, kind: Any, scope: ScopeKind, scope_id: str, spares: bool | None = None
    ) -> None:
        terms = self._signed_terms(kind.__name__, scope, scope_id, True)
        terms["command_id"] = f"{kind.__name__}-{scope.value}-{scope_id}-{terms['sequence']}"
        terms["expires_ns"] = self.now_ns + self.chance.randrange(5 * world.SECOND, world.MINUTE)
        if kind is CancelAll:
            terms["spares_protective"] = self.chance.random() < 0.5 if spares is None else spares
        self._publish_control(kind(**terms), True)

    def _signed_terms(
        self, kind: str, scope: ScopeKind, scope_id: str, is_genuine: bool
    ) -> dict[str, Any]:
        name = f"{kind}/{scope.value}/{scope_id}"
        number = self._sequences.get(name, 0) + 1
        if is_genuine:
            self._sequences[name] = number
        return {
            "scope": scope,
            "scope_id": scope_id,
            "sequence": number,
            "operator": "ada",
            "reason": "simulated",
            "issued_ns": self.now_ns,
            "run_id": world.RUN,
            "key_id": "ada",
            "signature": b"",
        }

    def _publish_control(self, record: Any, is_genuine: bool) -> bool:
        """Signs and publishes; a forged one is by a stranger, of another run, or altered."""
        signed = sign(record, self.operators.known)
        if not is_genuine:
            signed = self.chance.choice(
                (
                    sign(record, self.operators.stranger),
                    sign(replace(record, run_id="another"), self.operators.known),
                    replace(signed, sequence=signed.sequence + 5),
                    replace(signed, signature=b""),
                )
            )
        self._count += 1
        origin = "control-" if is_genuine else world.FORGED
        made = world.message(signed, f"{origin}{self._count}", "cli")
        self._publish(made)
        if is_genuine:
            self._controls = [*self._controls, made][-RECENT:]
        return is_genuine

    # ---- configuration, account events, keys

    def _configure(self) -> None:
        chance = self.chance
        kind = chance.randrange(5)
        if kind == 0:
            name = chance.choice(world.ACCOUNTS)
            weight = D(chance.choice(("0.05", "0.2", "0.3", "0.4")))
            self._send(world.mandate(name, position_weight_max=weight, version=self._version(name)))
        elif kind == 1:
            name = chance.choice(tuple(world.GROUPS))
            is_enabled = chance.random() < 0.8
            self._send(world.group(name, is_enabled=is_enabled, version=self._version(name)))
        elif kind == 2:
            self._send(self._overlay(chance.choice(world.ACCOUNTS)))
        elif kind == 3:
            latency_ns = chance.choice((0, 150 * world.MILLI, 3 * world.SECOND))
            adapter = "outside" if self._is_live else "paper"
            version = self._version(world.PAPER)
            self._send(world.venue(adapter=adapter, latency_ns=latency_ns, version=version))
        else:
            # An old version again.
            self._send(chance.choice(world.configuration(is_live=self._is_live)))

    def _overlay(self, account_id: str) -> RiskOverlay:
        name = self.chance.choice(("position_weight_max", "gross_exposure_max", "cash_reserve_min"))
        return RiskOverlay(
            overlay_id=f"{account_id}/{name}",
            account_id=account_id,
            field=name,
            value=D(self.chance.choice(("0.02", "0.2", "0.5", "1.5"))),
            expires_ns=self.now_ns + self.chance.randrange(10 * world.MINUTE),
            version=self._version(f"{account_id}/{name}"),
        )

    def _version(self, name: str) -> int:
        self._versions[name] = self._versions.get(name, 1) + 1
        return self._versions[name]

    def _account_event(self) -> None:
        chance = self.chance
        self._count += 1
        plain: dict[str, Any] = {
            "account_id": chance.choice(world.ACCOUNTS),
            "ts_event_ns": self.now_ns,
            "ts_init_ns": self.now_ns,
        }
        amount = D(chance.randrange(-200_000, 200_000)) / 100
        kind = chance.randrange(3)
        record: Any
        if kind == 0:
            reason = chance.choice(("deposit", "withdrawal", "fee"))
            record = CashAdjustment(
                adjustment_id=f"a{self._count}",
                currency="USD",
                amount=abs(amount) if reason == "deposit" else -abs(amount),
                reason=reason,
                **plain,
            )
        elif kind == 1:
            record = FundingPayment(
                payment_id=f"p{self._count}",
                group_id="g1",
                instrument_id=world.SPY,
                currency="USD",
                amount=amount / 10,
                **plain,
            )
        else:
            record = PositionCorrection(
                correction_id=f"c{self._count}",
                group_id=chance.choice(tuple(world.GROUPS)),
                instrument_id=world.SPY,
                quantity=D(chance.randrange(-5, 6) or 1),
                price=Decimal(f"{self.prices[world.SPY]:.2f}"),
                reason="simulated",
                **plain,
            )
        self._publish(world.message(record, f"event-{self._count}", "venue"))

    def _rotate(self) -> None:
        self.seals.rotate(revokes=self.chance.random() < 0.3)

    def _forge(self) -> None:
        """An approval again, or changed, on the topic that only risk may write."""
        approvals = self._approvals()
        if not approvals:
            return
        self._count += 1
        forged = self._forgery(approvals[0])
        self._publish(world.message(forged, f"{world.FORGED}{self._count}", "eve"))

    def _forgery(self, genuine: ApprovedOrder) -> ApprovedOrder:
        order, approval, chance = genuine.order, genuine.approval, self.chance
        later: dict[str, Any] = dict.fromkeys(
            ("expires_ns", "last_send_ns"), self.now_ns + world.HOUR
        )
        return chance.choice(
            (
                genuine,
                genuine,
                genuine,
                replace(genuine, approval=replace(approval, approval_id=f"new-{self._count}")),
                replace(genuine, approval=replace(approval, **later)),
                replace(
                    genuine,
                    order=replace(order, quantity=order.quantity * 10),
                    approval=replace(approval, approval_id=f"new-{self._count}"),
                ),
                replace(
                    genuine,
                    order=replace(order, client_order_id=f"new-{self._count}"),
                    approval=replace(approval, approval_id=f"new-{self._count}", mac=b"", **later),
                ),
            )
        )

    # ---- sending

    def _fault(self, probability: float) -> bool:
        return not self.is_ending and self.chance.random() < probability * self.rates.faults

    def _number(self, mean: float) -> int:
        whole = int(mean)
        return whole + (self.chance.random() < mean - whole) + (self.chance.random() < 0.1) * 3

    def _send(self, record: Any) -> None:
        self._count += 1
        self._publish(world.message(record, f"event-{self._count}", "world"))

    def _publish(self, message: Message) -> None:
        self.broker.publish([message])
