"""What must hold of risk, checked at every input from books of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from typing import Any

from tapeline.contracts.accounts import CashAdjustment, FundingPayment, PositionCorrection
from tapeline.contracts.agents import Decision, DecisionKind
from tapeline.contracts.config import (
    Account,
    Instrument,
    Mandate,
    RiskOverlay,
    TradingGroup,
)
from tapeline.contracts.control import CancelAll, Flatten, SetTradingState
from tapeline.contracts.market import MarkPrice
from tapeline.contracts.orders import ApprovedOrder, Fill, Order, OrderAction, OrderUpdate, Side
from tapeline.contracts.risk import Denial, TradingState, TradingStateChanged
from tapeline.runtime.core import Input, Output, TimerFired, Undecodable

from . import world
from .books import EXACT, ZERO, Book, Open, Switches, same_figures, signed
from .faults import require

NEARLY = Decimal("1.000000001")
"""Rounding of an average or a rate; a broken limit is farther off."""
TOLERANCE_NS = world.SECOND
REFUSED_KEPT = 512
CONFIG = (Instrument, Account, Mandate, TradingGroup, RiskOverlay)


def price(value: float) -> Decimal:
    return Decimal(repr(value))


@dataclass
class RiskObserver:
    """Plain books of one shard of risk."""

    config: dict[tuple[str, str], Any] = field(default_factory=dict)
    books: dict[str, Book] = field(default_factory=dict)
    open: dict[str, Open] = field(default_factory=dict)
    """by approval"""
    switches: Switches = field(default_factory=Switches)
    marks: dict[str, MarkPrice] = field(default_factory=dict)
    fill_prices: dict[str, Decimal] = field(default_factory=dict)
    last: dict[str, tuple[int, int]] = field(default_factory=dict)
    refused: dict[str, list[str]] = field(default_factory=dict)
    mode: str = "PAPER"

    # ---- what is said

    def decided(self, event: Input, outputs: Sequence[Output]) -> None:
        """Every decision that is new is answered exactly once, any other not at all; and an
        approval is one that may be given."""
        record = event.record
        approved = [one.record for one in outputs if isinstance(one.record, ApprovedOrder)]
        denied = [one.record for one in outputs if isinstance(one.record, Denial)]
        if isinstance(record, Decision):
            expected = 0 if self._is_answered(record) else 1
            found = len(approved) + len(denied)
            require(found == expected, "answered once", f"{record.decision_id}: {found} answers")
            ids = [one.approval.decision_id for one in approved]
            ids += [one.decision_id for one in denied]
            require(set(ids) <= {record.decision_id}, "answered once", "another's id")
            for one in approved:
                self._approved(record, one, event)
        elif isinstance(record, Flatten):
            for one in approved:
                self._flattened(record, one, event)
        elif isinstance(record, Undecodable):
            require(not approved, "approval for a decision", record)
        elif isinstance(record, TimerFired):
            self._by_itself(event, approved, outputs)
            require(not denied, "approval for a decision", record)
        else:
            require(not approved and not denied, "approval for a decision", record)

    def _by_itself(
        self, event: Input, approved: Sequence[ApprovedOrder], outputs: Sequence[Output]
    ) -> None:
        """A command in force closes what is left; an automatic halt cancels in its own name."""
        halts = [one.record for one in outputs if isinstance(one.record, TradingStateChanged)]
        named = {one.command_id for one in halts}
        for one in approved:
            name = one.approval.decision_id
            if one.action is OrderAction.CANCEL:
                require(name in named, "approval for a decision", "a cancel that nobody asked for")
                continue
            in_force = event.session_ns < self.switches.flattens.get(name, 0)
            require(in_force, "flatten", "a command that is not in force was carried out")
            require(one.order.is_reduce_only and not self._is_entry(one.order), "flatten", "opens")

    def _is_answered(self, record: Decision) -> bool:
        key = f"{record.account_id}/{record.group_id}"
        if record.decision_id in self.refused.get(key, ()):
            return True
        last = self.last.get(key)
        return last is not None and (record.cycle_ns, record.index) <= last

    def _approved(self, asked: Decision, approved: ApprovedOrder, event: Input) -> None:
        order, approval = approved.order, approved.approval
        require(not event.verdict, "approval needs a key", event.verdict)
        require(approval.issued_ns == event.session_ns, "approval times", approval)
        require(
            approval.run_id == world.RUN and approval.mode.value == self.mode, "approval", "run"
        )
        require(approval.account_id == order.account_id == asked.account_id, "approval", "account")
        if asked.kind is DecisionKind.CANCEL:
            known = [one for one in self.open.values() if one.order == order and not one.has_ended]
            require(approved.action is OrderAction.CANCEL, "cancel", approved.action)
            require(bool(known), "cancel", "the order is not open")
            require(order.account_id == asked.account_id, "cancel", "another account's order")
            return
        require(approved.action is not OrderAction.CANCEL, "cancel", "nobody asked for it")
        same = (order.instrument_id, order.group_id) == (asked.instrument_id, asked.group_id)
        require(same, "approval", "instrument and group")
        require(order.quantity > 0, "approval", "quantity is not positive")
        if asked.quantity is not None:
            require(order.quantity <= asked.quantity, "never raised", order)
            require(order.side is asked.side, "never raised", "another side")
        state = self.switches.strictest(order)
        require(state is not TradingState.HALTED, "kill latched", f"approved while {state}")
        account = self.config["Account", order.account_id]
        require(account.shard == 0, "own accounts only", order.account_id)
        mandate: Mandate = self.config["Mandate", order.account_id]
        age_ns = event.session_ns - asked.ts_event_ns
        require(age_ns <= mandate.decision_age_max_ns, "decision age", age_ns)
        lifetime_ns = approval.expires_ns - approval.issued_ns
        require(0 < lifetime_ns <= mandate.approval_ttl_ns, "approval times", lifetime_ns)
        if order.side is Side.SELL and not mandate.allows_short:
            self._is_held(order)
        if self._is_entry(order):
            require(state is TradingState.ACTIVE, "kill latched", f"entry while {state}")
            require(not asked.is_reduce_only, "reduce only", order)
            self._may_enter(asked, order, mandate, event.session_ns)
            with localcontext(EXACT):
                self._limits(order, mandate, event.session_ns)
        if order.limit_price is not None:
            near = self._price(order.instrument_id) * mandate.price_collar * NEARLY
            distance = abs(order.limit_price - self._price(order.instrument_id))
            require(distance <= near, "price collar", order.limit_price)

    def _is_held(self, order: Order) -> None:
        """Where nothing may be short, all sales on order together sell no more than is held."""
        place = (order.group_id, order.instrument_id)
        on_order = self._reserved(order.account_id).get((*reversed(place), Side.SELL), ZERO)
        held = max(self.books[order.account_id].held.get(place, ZERO), ZERO)
        require(on_order + order.quantity <= held, "closed once", f"{on_order} are on order")

    def _flattened(self, command: Flatten, approved: ApprovedOrder, event: Input) -> None:
        order = approved.order
        require(approved.approval.decision_id == command.command_id, "flatten", "not in its name")
        require(order.is_reduce_only and not self._is_entry(order), "flatten", "it opens")
        may = Switches(self.switches.states, dict(self.switches.numbers), {}).hear(event)
        require(may, "flatten", "an old or forged command was carried out")

    def _is_entry(self, order: Order) -> bool:
        held = self.books[order.account_id].held.get((order.group_id, order.instrument_id), ZERO)
        against = -held if order.side is Side.BUY else held
        return order.quantity > max(against, ZERO)

    def _may_enter(self, asked: Decision, order: Order, mandate: Mandate, now_ns: int) -> None:
        name = order.instrument_id
        instrument: Instrument = self.config["Instrument", name]
        may = instrument.is_permitted and name in mandate.instruments
        require(may, "mandate", f"{name} is not permitted")
        group = self.config.get(("TradingGroup", order.group_id))
        if group is not None and order.group_id != world.MANUAL:
            may = group.is_enabled and group.account_id == order.account_id
            require(may, "mandate", f"{order.group_id} may not enter")
        require(asked.confidence >= mandate.confidence_min, "confidence", asked.confidence)
        if not mandate.allows_short:
            require(order.side is Side.BUY, "mandate", "a short position")
        mark = self.marks.get(name)
        require(mark is not None, "mark", f"{name} was approved without one")
        assert mark is not None
        age_ns = now_ns - mark.ts_event_ns
        require(-TOLERANCE_NS <= age_ns <= mandate.mark_age_max_ns, "mark", f"age {age_ns}")

    # ---- limits

    def _price(self, name: str) -> Decimal:
        mark = self.marks.get(name)
        return self.fill_prices.get(name, ZERO) if mark is None else price(mark.price)

    def _rate(self, currency: str) -> Decimal:
        return Decimal(1) if currency == "USD" else self._price(world.EURUSD)

    def _unit(self, name: str) -> Decimal:
        instrument: Instrument = self.config["Instrument", name]
        return self._price(name) * instrument.multiplier * self._rate(instrument.currency)

    def _limit(self, mandate: Mandate, name: str, now_ns: int) -> Decimal:
        values = [getattr(mandate, name)]
        for (kind, _), overlay in self.config.items():
            if kind != "RiskOverlay" or overlay.account_id != mandate.account_id:
                continue
            if overlay.field == name and now_ns < overlay.expires_ns:
                values.append(overlay.value)
        return Decimal(max(values) if name == "cash_reserve_min" else min(values))

    def _left(self, account_id: str, name: str, side: Side) -> Decimal:
        return sum(
            (
                one.left
                for one in self.open.values()
                if (one.order.account_id, one.order.instrument_id, one.order.side)
                == (account_id, name, side)
            ),
            ZERO,
        )

    def _limits(self, order: Order, mandate: Mandate, now_ns: int) -> None:
        """With this order and everything else that is open or unknown, all of it filled."""
        account_id, book = order.account_id, self.books[order.account_id]
        names = sorted({*(name for _, name in book.held), *world.TRADED})
        nav = sum((cash * self._rate(name) for name, cash in book.cash.items()), ZERO)
        nav += sum((book.net(name) * self._unit(name) for name in names), ZERO)
        more = {(order.instrument_id, order.side): order.quantity}

        def reach(name: str, side: Side) -> Decimal:
            left = self._left(account_id, name, side) + more.get((name, side), ZERO)
            return book.net(name) + signed(side, left)

        own = signed(order.side, reach(order.instrument_id, order.side))
        allowed = self._limit(mandate, "position_weight_max", now_ns) * nav * NEARLY
        require(own * self._unit(order.instrument_id) <= allowed, "position limit", own)
        worst = sum(
            (max(abs(reach(name, side)) for side in Side) * self._unit(name) for name in names),
            ZERO,
        )
        allowed = self._limit(mandate, "gross_exposure_max", now_ns) * nav * NEARLY
        require(worst <= allowed, "gross exposure", f"{worst} above {allowed}")
        lines = sum((abs(held) * self._unit(name) for (_, name), held in book.held.items()), ZERO)
        allowed = self._limit(mandate, "leverage_max", now_ns) * nav * NEARLY
        require(lines <= allowed, "leverage", f"{lines} above {allowed}")
        self._cash(order, book, nav, self._limit(mandate, "cash_reserve_min", now_ns))

    def _cash(self, order: Order, book: Book, nav: Decimal, reserve: Decimal) -> None:
        """Where nothing is short, what is free is cash less what open purchases may cost."""
        if order.side is Side.SELL or min(book.held.values(), default=ZERO) < 0:
            return
        cash = sum((held * self._rate(name) for name, held in book.cash.items()), ZERO)
        open_orders = [
            one for one in self.open.values() if one.order.account_id == order.account_id
        ]
        if any(one.order.side is Side.SELL for one in open_orders):
            return
        cost = sum(
            (
                self._cost(one.order, one.left)
                for one in (*open_orders, Open(order, order.quantity))
            ),
            ZERO,
        )
        require((cash - cost) * NEARLY >= reserve * nav, "cash reserve", f"{cash} less {cost}")

    def _cost(self, order: Order, quantity: Decimal) -> Decimal:
        instrument: Instrument = self.config["Instrument", order.instrument_id]
        worse = max(order.arrival_price, order.limit_price or ZERO)
        return quantity * worse * instrument.multiplier * self._rate(instrument.currency)

    # ---- what happens

    def evolved(self, event: Input | Output) -> None:
        """Keeps the books."""
        record = event.record
        if isinstance(event, Output):
            self._said(record)
            return
        match record:
            case MarkPrice():
                self._mark(record, event.session_ns)
            case Decision():
                self._remember(record, event.session_ns)
            case Fill():
                self._fill(record)
            case OrderUpdate():
                self._end(record)
            case SetTradingState() | CancelAll() | Flatten():
                self.switches.hear(event)
            case CashAdjustment() | FundingPayment() | PositionCorrection():
                self._account_event(record)
            case _ if isinstance(record, CONFIG):
                self._configure(record)

    def _said(self, record: Any) -> None:
        if isinstance(record, ApprovedOrder) and record.action is not OrderAction.CANCEL:
            approval_id = record.approval.approval_id
            require(approval_id not in self.open, "approval ids", approval_id)
            self.open[approval_id] = Open(record.order, record.order.quantity)
        elif isinstance(record, TradingStateChanged) and record.command_id:
            self.switches.halt(record.scope, record.sequence)

    def _account_event(self, record: CashAdjustment | FundingPayment | PositionCorrection) -> None:
        book = self.books[record.account_id]
        if not isinstance(record, PositionCorrection):
            book.move(record.currency, record.amount)
            return
        instrument = self.config["Instrument", record.instrument_id]
        place = (record.group_id, record.instrument_id)
        book.trade(place, record.quantity, record.price, instrument)
        self.fill_prices.setdefault(record.instrument_id, record.price)

    def _mark(self, mark: MarkPrice, now_ns: int) -> None:
        known = self.marks.get(mark.instrument_id)
        if not 1e-9 <= mark.price <= 1e15:
            return
        is_held = known is not None and mark.ts_event_ns < known.ts_event_ns
        if not is_held or (known is not None and known.ts_event_ns > now_ns + TOLERANCE_NS):
            self.marks[mark.instrument_id] = mark

    def _remember(self, record: Decision, now_ns: int) -> None:
        if self._is_answered(record):
            return
        key = f"{record.account_id}/{record.group_id}"
        if record.cycle_ns > now_ns + TOLERANCE_NS:
            self.refused[key] = [*self.refused.get(key, []), record.decision_id][-REFUSED_KEPT:]
        else:
            self.last[key] = (record.cycle_ns, record.index)

    def _fill(self, record: Fill) -> None:
        instrument: Instrument = self.config["Instrument", record.instrument_id]
        self.books[record.account_id].fill(record, instrument)
        self.fill_prices[record.instrument_id] = record.price
        known = self.open.get(record.approval_id)
        if known is None and self.mode == "LIVE":
            return  # a fill behind the end of its order: venues do that
        require(known is not None, "fills of approved orders", record.fill_id)
        assert known is not None
        is_within = record.quantity <= known.left or self.mode == "LIVE"
        require(is_within, "fills within quantity", record.fill_id)
        known.left = max(known.left - record.quantity, ZERO)
        known.filled += record.quantity
        self._forget(record.approval_id, known)

    def _end(self, record: OrderUpdate) -> None:
        known = self.open.get(record.approval_id)
        if known is None or known.has_ended or not record.is_terminal:
            return
        known.has_ended = True
        known.left = min(known.left, max(record.filled_quantity - known.filled, ZERO))
        self._forget(record.approval_id, known)

    def _forget(self, approval_id: str, known: Open) -> None:
        if known.has_ended and not known.left:
            del self.open[approval_id]

    def _configure(self, record: Any) -> None:
        ids = ("overlay_id", "group_id", "instrument_id", "account_id")
        name = next(getattr(record, one) for one in ids if hasattr(record, one))
        key = (type(record).__name__, str(name))
        known = self.config.get(key)
        if known is not None and record.version <= known.version:
            return
        self.config[key] = record
        if isinstance(record, Account) and known is None and record.shard == 0:
            self.books[record.account_id] = Book({record.base_currency: record.initial_cash})

    # ---- what the core holds

    def compare(self, state: Any) -> None:
        """The core's ledger, reservations, switches and marks are those of the books."""
        for account_id, book in self.books.items():
            ledger = state.accounts[account_id].ledger
            same_figures(f"cash of {account_id}", book.cash, ledger.cash)
            held = {
                (group, name): line.quantity
                for name, lines in ledger.lines.items()
                for group, line in lines.items()
            }
            same_figures(f"positions of {account_id}", book.held, held)
            reserved = {
                (name, group, side): reserve.on(side)
                for name, groups in state.accounts[account_id].reserves.items()
                for group, reserve in groups.items()
                for side in Side
            }
            same_figures(f"reservations of {account_id}", self._reserved(account_id), reserved)
        left = {name: one.left for name, one in self.open.items()}
        core = {name: one.remaining for name, one in state.open_orders.items()}
        require(left == core, "open orders", f"plain books {left}, core {core}")
        require(self.switches.states == state.trading_states, "kill latched", state.trading_states)
        require(self.marks == state.marks, "marks", "the core holds others")
        require(self.last == state.last_decisions, "answered once", "last decisions differ")

    def _reserved(self, account_id: str) -> dict[Any, Decimal]:
        found: dict[Any, Decimal] = {}
        for one in self.open.values():
            order = one.order
            if order.account_id == account_id:
                key = (order.instrument_id, order.group_id, order.side)
                found[key] = found.get(key, ZERO) + one.left
        return found
