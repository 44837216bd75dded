"""Pre-trade risk: approves or denies every decision before execution sees an order.

In:  control, config, fills, order-updates, account-events, marks, bars, decisions.
Out: approved-orders (unsigned; the shell signs), risk-events, portfolio, incidents.

Invariants:
    every decision above its group's last one is answered exactly once, by ApprovedOrder or Denial
    after an approval every limit holds, all open orders counted at their worst
    an approved quantity is never above the one asked for
    what is held can always be closed, unless trading is halted
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar

from tapeline.accounting.numbers import exact
from tapeline.contracts import topics
from tapeline.contracts.accounts import (
    CashAdjustment,
    CorporateAction,
    FundingPayment,
    PositionCorrection,
    VenueDrift,
)
from tapeline.contracts.agents import Decision
from tapeline.contracts.control import (
    AcceptVenueTruth,
    CancelAll,
    Flatten,
    LocalTrip,
    ScopeKind,
    SetLiveSwitch,
    SetTradingState,
    SwitchLevel,
)
from tapeline.contracts.frozen import acyclic
from tapeline.contracts.market import Bar, MarkPrice
from tapeline.contracts.orders import ApprovedOrder, Fill, OrderAction, OrderUpdate
from tapeline.contracts.risk import (
    Denial,
    PortfolioSnapshot,
    TradingState,
    TradingStateChanged,
)
from tapeline.risk import (
    amended,
    books,
    breakers,
    config_book,
    decisions,
    flatten,
    halts,
    pace,
    portfolio,
    rush,
    switchboard,
    venue_trust,
)
from tapeline.risk.answers import Scribe
from tapeline.risk.in_force import Gathered
from tapeline.risk.rush import DecisionHead, PutOff
from tapeline.risk.state import OpenOrder, RiskState, dump, load
from tapeline.risk.worth import (
    FUTURE_TOLERANCE_NS,
    MARK_PRICE_MAX,
    MARK_PRICE_MIN,
    believable,
)
from tapeline.runtime.core import (
    Context,
    Input,
    InputTopic,
    Output,
    Pacing,
    TimerFired,
    Undecodable,
)

MARKET = (MarkPrice, Bar)
OF_EXECUTION = (Fill, OrderUpdate)
_SILENT = ("CONFIG_REPEATED", "CONFIG_FOREIGN", "")


def _from_execution(topic: str) -> InputTopic:
    return InputTopic(topic=topic, is_own=True, pacing=Pacing.PREVIOUS, is_critical=True)


class RiskCore:
    """The decider of one shard."""

    inputs: ClassVar[tuple[InputTopic, ...]] = (
        InputTopic(
            topic=topics.CONTROL,
            is_own=False,
            pacing=Pacing.UNPACED,
            is_first=True,
            is_critical=True,
        ),
        InputTopic(topic=topics.CONFIG, is_own=False, pacing=Pacing.UNPACED, is_critical=True),
        _from_execution(topics.FILLS),
        _from_execution(topics.ORDER_UPDATES),
        _from_execution(topics.ACCOUNT_EVENTS),
        InputTopic(topic=topics.MARKS, is_own=False),
        InputTopic(topic=topics.BARS, is_own=False),
        InputTopic(topic=topics.DECISIONS, is_own=True, head=DecisionHead),
    )
    outputs: ClassVar[tuple[str, ...]] = (
        topics.APPROVED_ORDERS,
        topics.RISK_EVENTS,
        topics.PORTFOLIO,
    )
    watermark_topics: ClassVar[tuple[str, ...]] = (topics.APPROVED_ORDERS,)

    def __init__(self, context: Context) -> None:
        self._context = context
        self._gathered = Gathered()

    def initial(self) -> RiskState:
        """Nothing known: everything is denied."""
        return RiskState()

    def pass_over(self, state: RiskState, head: DecisionHead, session_ns: int) -> PutOff | None:
        """What stands for a decision above its rate: it is not read, and answered later."""
        return decisions.put_off(state, self._gathered, head, session_ns)

    def decide(self, state: RiskState, event: Input) -> Sequence[Output]:
        """What follows from an input; does not change the state."""
        kind = type(event.record)
        # Marks and bars come by the thousand and decide nothing, as does what execution was to do.
        if kind in MARKET or (kind in OF_EXECUTION and _is_plain(state, event.record)):
            return ()
        return self._hear(state, event) if kind is PutOff else self._decide(state, event)

    def evolve(self, state: RiskState, event: Input | Output) -> RiskState:
        """The state after an input or an own output: the same object, changed in place."""
        kind = type(event.record)
        if kind is MarkPrice:
            assert isinstance(event, Input)
            _take_mark(state, event.record, event.session_ns)
        elif kind is Bar:
            assert isinstance(event, Input)
            _take_bar(state, event.record, event.session_ns)
        elif kind is PutOff:
            assert isinstance(event, Input)
            decisions.take_put_off(state, event.record, event.session_ns)
        elif isinstance(event, Input):
            self._take(state, event)
        else:
            self._take_back(state, event)
        return state

    def next_due_ns(self, state: RiskState) -> int | None:
        """When an account's worth is to be looked at."""
        times = (
            portfolio.next_due_ns(state),
            flatten.next_due_ns(state),
            rush.next_due_ns(state),
            state.watch_ns,
        )
        return min((due_ns for due_ns in times if due_ns is not None), default=None)

    def dump(self, state: RiskState) -> bytes:
        """Canonical bytes of the state."""
        return dump(state)

    def load(self, data: bytes) -> RiskState:
        """Inverse of dump."""
        return load(data)

    # ---- decide

    @exact
    def _hear(self, state: RiskState, event: Input) -> Sequence[Output]:
        put: PutOff = event.record
        scribe = Scribe(context=self._context, event=event)
        return rush.hear(state, scribe, put.head, put.refused)

    @exact
    def _decide(self, state: RiskState, event: Input) -> Sequence[Output]:
        scribe = Scribe(context=self._context, event=event)
        match event.record:
            case Decision():
                return decisions.answer(state, scribe, event, self._gathered)
            case TimerFired():
                return (
                    *portfolio.snapshots(state, scribe, self._gathered.appraiser),
                    *flatten.follow_up(state, scribe),
                    *breakers.outputs(state, scribe, self._gathered),
                    *rush.answers(state, scribe),
                )
            case LocalTrip():
                return self._trip(state, scribe, event)
            case SetTradingState() | CancelAll() | Flatten() | SetLiveSwitch() | AcceptVenueTruth():
                return self._control(state, scribe, event)
            case Fill() | OrderUpdate():
                return _unexpected(state, scribe, event.record)
            case Undecodable():
                return _unreadable(scribe, event)
        code, reason = config_book.ignored_because(state, event.record, event.session_ns)
        return () if code in _SILENT else (scribe.incident("warning", code, reason),)

    def _control(self, state: RiskState, scribe: Scribe, event: Input) -> Sequence[Output]:
        record = event.record
        code = switchboard.ignored_because(state, event, self._context.run_id)
        if code == switchboard.SAID_LOCALLY:
            return ()
        if code:
            name = f"{type(record).__name__} {record.scope.value} {record.scope_id}".rstrip()
            reason = f"{name} number {record.sequence} of {record.operator} was ignored."
            return (scribe.incident("critical", code, reason),)
        if isinstance(record, SetTradingState):
            change = Change(record.scope, record.scope_id, record.state, record.sequence)
            return _state_changes(state, scribe, change, record.reason)
        if isinstance(record, Flatten) and record.command_id not in state.flattening:
            scope = switchboard.scope_key(record.scope, record.scope_id)
            return flatten.orders(state, scribe, record.command_id, scope)
        return ()  # Execution cancels by itself; the ends of the orders come back as updates.

    def _trip(self, state: RiskState, scribe: Scribe, event: Input) -> Sequence[Output]:
        trip: LocalTrip = event.record
        if trip.trip_id in state.trips:
            return ()
        change = Change(
            trip.scope,
            trip.scope_id,
            switchboard.state_after(state, trip),
            trip.sequence,
            trip.trip_id,
        )
        changes = _state_changes(state, scribe, change, trip.reason)
        if not _flattens(event) or trip.trip_id in state.flattening:
            return changes
        scope = switchboard.scope_key(trip.scope, trip.scope_id)
        return (*changes, *flatten.orders(state, scribe, trip.trip_id, scope))

    # ---- evolve

    @exact
    def _take(self, state: RiskState, event: Input) -> None:
        record, now_ns = event.record, event.session_ns
        if isinstance(record, LocalTrip):
            _pull(state, event)
            return
        match record:
            case Decision():
                decisions.take(state, event, self._gathered)
            case Fill():
                books.fill(state, record, now_ns)
                breakers.begin(state, now_ns)
            case OrderUpdate():
                books.end(state, record, now_ns)
                amended.answered(state, record, now_ns)
                venue_trust.updated(state, record)
            case VenueDrift():
                venue_trust.drifted(state, record)
            case CashAdjustment() | FundingPayment() | CorporateAction() | PositionCorrection():
                books.account_event(state, record, now_ns)
                breakers.begin(state, now_ns)
            case SetTradingState() | CancelAll() | Flatten() | SetLiveSwitch() | AcceptVenueTruth():
                self._switch(state, event)
            case TimerFired():
                portfolio.look(state, self._gathered.appraiser, now_ns)
                flatten.look(state, now_ns)
                breakers.look(state, self._gathered, now_ns)
                rush.look(state, now_ns)
            case _ if event.topic == topics.CONFIG:
                config_book.configure(state, record, self._context.shard, now_ns)

    def _switch(self, state: RiskState, event: Input) -> None:
        record = event.record
        if switchboard.ignored_because(state, event, self._context.run_id):
            return
        switchboard.switch(state, event)
        scope = switchboard.scope_key(record.scope, record.scope_id)
        if isinstance(record, SetTradingState):
            flatten.end(state, scope)
        elif isinstance(record, Flatten):
            flatten.begin(state, record.command_id, scope, event.session_ns, record.expires_ns)

    @exact
    def _take_back(self, state: RiskState, output: Output) -> None:
        match output.record:
            case ApprovedOrder() as approved:
                self._take_approval(state, approved)
                flatten.approve(state, approved.approval.decision_id)
            case Denial() as denial:
                count = 1 + len(denial.also_decision_ids)
                books.deny(state, denial.account_id, denial.ts_init_ns, count)
                pace.note_answer(state, denial)
                rush.answered(state, denial)
            case TradingStateChanged() as change:
                halts.take(state, change)
            case PortfolioSnapshot() as snapshot:
                portfolio.published(state, snapshot)

    def _take_approval(self, state: RiskState, approved: ApprovedOrder) -> None:
        order = approved.order
        opening = books.approve(state, approved, approved.ts_init_ns)
        if approved.action is OrderAction.CANCEL:
            return
        if approved.action is OrderAction.AMEND:
            amended.asked(state, approved, approved.ts_init_ns)
        pace.note_answer(state, approved)
        if opening:
            pace.note_entry(state, approved)
            place = (order.account_id, order.group_id, order.instrument_id)
            limits = self._gathered.limits(state, place, approved.ts_init_ns)
            pace.note_order(state, approved, limits)


def _take_bar(state: RiskState, bar: Bar, now_ns: int) -> None:
    """Keeps a bar of the interval that its instrument asks for; none that nobody can believe."""
    known = state.histories.get(bar.instrument_id)
    if (
        known is not None
        and known.interval_ns == bar.interval_ns
        and bar.ts_event_ns <= now_ns + FUTURE_TOLERANCE_NS
        and MARK_PRICE_MIN <= bar.close <= MARK_PRICE_MAX
        and 0.0 <= bar.volume <= MARK_PRICE_MAX
    ):
        state.histories[bar.instrument_id] = known.followed_by(bar)


def _take_mark(state: RiskState, mark: MarkPrice, now_ns: int) -> None:
    """Keeps the newest mark; one from the future gives way, so that it cannot stay for ever."""
    known = state.marks.get(mark.instrument_id)
    is_newer = known is None or mark.ts_event_ns >= known.ts_event_ns
    if believable(mark) and (
        is_newer or (known is not None and known.ts_event_ns > now_ns + FUTURE_TOLERANCE_NS)
    ):
        state.marks[mark.instrument_id] = mark
        window = state.mark_windows.get(mark.instrument_id, ())
        state.mark_windows[mark.instrument_id] = breakers.follow(
            window, mark.ts_event_ns, mark.price
        )


@acyclic
@dataclass(frozen=True, slots=True)
class Change:
    """A scope's new trading state."""

    scope: ScopeKind
    scope_id: str
    state: TradingState
    sequence: int
    command_id: str = ""


def _pull(state: RiskState, event: Input) -> None:
    """Takes a trip by file or signal into the state."""
    trip: LocalTrip = event.record
    if _flattens(event) and trip.trip_id not in state.trips:
        scope = switchboard.scope_key(trip.scope, trip.scope_id)
        flatten.begin(state, trip.trip_id, scope, event.session_ns, trip.expires_ns)
    switchboard.trip(state, trip)


def _flattens(event: Input) -> bool:
    """Whether a trip closes positions: it is not too old for it, and orders can be signed."""
    trip: LocalTrip = event.record
    is_asked = trip.level is SwitchLevel.FLATTEN and not event.verdict
    return is_asked and event.session_ns < trip.expires_ns


def _state_changes(
    state: RiskState, scribe: Scribe, change: Change, reason: str
) -> Sequence[Output]:
    """One note for each account of this shard that the scope can concern."""
    scope = switchboard.scope_key(change.scope, change.scope_id)
    found = []
    for account_id in sorted(state.accounts):
        if change.scope is ScopeKind.ACCOUNT and change.scope_id != account_id:
            continue
        if change.scope is ScopeKind.GROUP:
            group = state.groups.get(change.scope_id)
            if group is not None and group.account_id != account_id:
                continue
        record = TradingStateChanged(
            account_id=account_id,
            scope=scope,
            state=change.state,
            sequence=change.sequence,
            reason=reason,
            ts_event_ns=scribe.now_ns,
            ts_init_ns=scribe.now_ns,
            command_id=change.command_id,
        )
        cause = scribe.event.event_id or f"{scope}/{change.sequence}"
        kind = f"{TradingStateChanged.AVRO}/{account_id}"
        found.append(
            Output(
                topic=topics.RISK_EVENTS,
                key=account_id,
                record=record,
                event_id=scribe.derived(cause, kind),
            )
        )
    return tuple(found)


def _is_plain(state: RiskState, record: Fill | OrderUpdate) -> bool:
    """Whether execution speaks of an account of ours, and fills what it was to fill; what is less
    plain is looked at in full."""
    if record.account_id not in state.accounts:
        return False
    if isinstance(record, OrderUpdate):
        return True
    known = state.open_orders.get(record.approval_id)
    is_own = known is not None and record.role not in books.PROTECTIVE
    return is_own and known is not None and record.quantity <= known.remaining


def _unexpected(state: RiskState, scribe: Scribe, record: Fill | OrderUpdate) -> Sequence[Output]:
    """Execution speaks of an account that is not ours, or fills more than was approved."""
    if record.account_id not in state.accounts:
        reason = f"{type(record).__name__} for account {record.account_id}, not of this shard."
        return (scribe.incident("critical", "ACCOUNT_NOT_HERE", reason),)
    if isinstance(record, Fill):
        known = state.open_orders.get(record.approval_id)
        if known is None or record.quantity > _fillable(known, record):
            reason = (
                f"Fill {record.fill_id} of {record.quantity:f} is above what is open "
                f"under approval {record.approval_id}; it was booked."
            )
            return (scribe.incident("critical", "FILL_NOT_APPROVED", reason),)
    return ()


def _fillable(known: OpenOrder, record: Fill) -> Decimal:
    """How much may still be filled: of the order what is reserved, of its legs what it opened."""
    if record.role in books.PROTECTIVE:
        return known.filled - known.protective_filled
    return known.remaining


def _unreadable(scribe: Scribe, event: Input) -> Sequence[Output]:
    """A decision that names its account is denied; the rest is in quarantine."""
    record: Undecodable = event.record
    if event.topic != topics.DECISIONS or not record.key:
        return ()
    return (scribe.malformed(record.key, record.code, record.reason),)
