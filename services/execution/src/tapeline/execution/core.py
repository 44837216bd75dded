"""Execution: carries out what risk approved, and nothing else.

In:  control and config (all), ApprovedOrder and risk's Watermark of the shard, Trade and Quote,
     on paper BookSnapshot and FundingRate.
     Outside of paper also venue-reports, from which the sender's findings are heard.
Out: OrderUpdate with the VenueCommand it sends, VenueReport of the paper venue, Fill, account
     events, Incident.
Invariants: an approval is carried out at most once and ends in exactly one terminal OrderUpdate;
    nothing is sent that admission.py refuses; the fills of an order never exceed its quantity.

The order life cycle and the paper venue are two cores. This one hands commands from the first to
the second and reports back, all within one input.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final

from tapeline.accounting.numbers import exact
from tapeline.contracts import topics
from tapeline.contracts.accounts import (
    CashAdjustment,
    FundingPayment,
    PositionCorrection,
    VenueDrift,
)
from tapeline.contracts.config import Account, Instrument, Venue
from tapeline.contracts.control import (
    AcceptVenueTruth,
    CancelAll,
    Flatten,
    LocalTrip,
    SetLiveSwitch,
    SetTradingState,
)
from tapeline.contracts.frozen import replace
from tapeline.contracts.market import BookSnapshot, FundingRate, Quote, Trade
from tapeline.contracts.orders import (
    ApprovedOrder,
    CommandKind,
    Fill,
    NotSent,
    OrderAction,
    OrderStatus,
    OrderUpdate,
    TradeBust,
    VenueCommand,
    VenueReport,
    VenueStatement,
)
from tapeline.contracts.system import Watermark
from tapeline.execution import (
    admission,
    amendments,
    bookkeeping,
    doubts,
    external,
    halting,
    life_cycle,
    parents,
    scheduling,
    shadow,
    switchboard,
)
from tapeline.execution import state as state_of
from tapeline.execution.admission import Code, Question, Rules
from tapeline.execution.external_state import OUTSIDE_MODES
from tapeline.execution.order_table import TERMINAL, Trigger, next_status
from tapeline.execution.state import (
    ExecutionState,
    LiveOrder,
    ParentOrder,
    PendingCancel,
    RiskHeartbeat,
)
from tapeline.execution.transcript import Transcript
from tapeline.execution.venues.arrival import earliest
from tapeline.execution.venues.paper import PaperVenue, Said
from tapeline.execution.venues.paper_books import remember
from tapeline.runtime.core import Context, Input, InputTopic, Output, Pacing, TimerFired

DEFAULT_RULES: Final = Rules()
TICKS: Final = frozenset((Trade, Quote, BookSnapshot))
ON_PAPER: Final = (
    InputTopic(
        topic=topics.CONTROL,
        is_own=False,
        pacing=Pacing.UNPACED,
        is_first=True,
        is_critical=True,
    ),
    InputTopic(topic=topics.CONFIG, is_own=False, pacing=Pacing.UNPACED, is_critical=True),
    InputTopic(topic=topics.APPROVED_ORDERS, is_own=True, is_critical=True),
    InputTopic(topic=topics.TICKS, is_own=False),
    InputTopic(topic=topics.BOOKS, is_own=False),
    InputTopic(topic=topics.FUNDING_RATES, is_own=False),
)
OUTSIDE: Final = (
    *ON_PAPER,
    InputTopic(topic=topics.VENUE_REPORTS, is_own=True, pacing=Pacing.UNPACED, is_critical=True),
)
"""The reports of the paper venue are the core's own words and not heard again."""


@dataclass(frozen=True, slots=True)
class ExecutionCore:
    """One shard of execution."""

    context: Context
    rules: Rules = DEFAULT_RULES
    paper: PaperVenue = field(init=False)
    """the venue inside this core"""

    outputs: ClassVar[tuple[str, ...]] = (
        topics.VENUE_REPORTS,
        topics.ORDER_UPDATES,
        topics.FILLS,
        topics.ACCOUNT_EVENTS,
    )
    watermark_topics: ClassVar[tuple[str, ...]] = outputs[1:]
    """all but what the venue inside says"""

    @property
    def inputs(self) -> tuple[InputTopic, ...]:
        """What is subscribed to, by the mode of the run."""
        return OUTSIDE if self.context.mode in OUTSIDE_MODES else ON_PAPER

    def __post_init__(self) -> None:
        object.__setattr__(self, "paper", PaperVenue(self.context.run_id))

    def initial(self) -> ExecutionState:
        """State before the first input."""
        return ExecutionState()

    def next_due_ns(self, state: ExecutionState) -> int | None:
        """When the paper venue or the housekeeping needs the clock, session time."""
        return earliest(state.housekeeping_ns, state.paper.due_ns, parents.next_due_ns(state))

    def dump(self, state: ExecutionState) -> bytes:
        """Canonical bytes of the state."""
        return state_of.dump(state)

    def load(self, data: bytes) -> ExecutionState:
        """Inverse of `dump`."""
        return state_of.load(data)

    # ---- decide

    def decide(self, state: ExecutionState, event: Input) -> Sequence[Output]:
        """What follows from an input; does not change the state."""
        record = event.record
        # Most inputs are ticks that concern no order: they must cost next to nothing.
        kind = type(record)
        if kind in TICKS and record.instrument_id not in state.paper.by_instrument:
            return ()
        if kind is TimerFired and bookkeeping.is_quiet(state, record.ts_event_ns):
            return ()
        if kind is LocalTrip:
            return self._on_trip(state, event, record)
        return self.talk(state, event).outputs

    @exact
    def talk(self, state: ExecutionState, event: Input) -> Transcript:
        """What is said about an input other than a trip, and the state that leads to."""
        talk, record = Transcript(self.context, event, state, self.evolve), event.record
        match record:
            case Trade() | Quote() | BookSnapshot() | FundingRate():
                self._hear_paper(talk, self.paper.decide(state.paper, record, event.session_ns))
            case ApprovedOrder():
                self._on_approved(talk, state)
            case SetTradingState() | CancelAll() | Flatten() | SetLiveSwitch() | AcceptVenueTruth():
                self._on_control(talk, state)
            case Watermark():
                talk.state = self._after_watermark(state, event)
            case TimerFired():
                self._hear_paper(talk, self.paper.decide(state.paper, record, event.session_ns))
                doubts.denied(talk)
            case VenueReport() | VenueStatement() | TradeBust() | NotSent():
                self._hear_outside(talk, record)
            case Account() | Instrument() | Venue():
                fault = bookkeeping.config_fault(state, record)
                if fault:
                    talk.incident("CONFIG_IGNORED", f"{type(record).__name__}: {fault}.")
        if talk.state.parents and (talk.outputs or type(record) not in TICKS):
            scheduling.work(talk, self._desk)
        return talk

    @property
    def _desk(self) -> scheduling.Desk:
        return scheduling.Desk(context=self.context, rules=self.rules, send=self._send)

    def _hear_paper(
        self,
        talk: Transcript,
        said: Iterable[Said],
        causation_id: str | None = None,
    ) -> None:
        for report in said:
            if not isinstance(report, VenueReport):
                talk.beside(report)
                continue
            order = talk.state.known_order(report.client_order_id)
            correlation_id = talk.correlation_id if order is None else order.correlation_id
            talk.report(report, correlation_id, causation_id)
            self._hear(talk, report, report.report_id)

    def _hear(self, talk: Transcript, report: VenueReport, causation_id: str | None) -> None:
        order = talk.state.known_order(report.client_order_id)
        if order is not None and amendments.is_answer(report):
            amendments.answered(talk, order, report, causation_id)
        else:
            life_cycle.hear(talk, report, causation_id)

    def _hear_outside(
        self, talk: Transcript, record: VenueReport | VenueStatement | TradeBust | NotSent
    ) -> None:
        if not self._goes_outside(talk.state, record.venue):
            return
        match record:
            case VenueReport():
                if shadow.hears_reports(self.context.mode):
                    self._hear(talk, record, None)
            case VenueStatement():
                external.stated(talk, record)
            case TradeBust():
                external.busted(talk, record)
            case _:
                self._hear_not_sent(talk, record)

    def _hear_not_sent(self, talk: Transcript, record: NotSent) -> None:
        command = shadow.handed_over(talk.state, talk.event, self.context.mode)
        if command is not None:
            self._hear_paper(talk, shadow.decided(talk, self.paper, command))
        elif not shadow.is_imitated(talk.state, record.client_order_id):
            external.not_sent(talk, record)

    def _goes_outside(self, state: ExecutionState, venue: str) -> bool:
        return external.goes_outside(state, self.context.mode, venue)

    def _leaves(self, state: ExecutionState, command: VenueCommand) -> bool:
        is_imitated = shadow.is_imitated(state, command.client_order_id)
        return self._goes_outside(state, command.venue) and not is_imitated

    def _on_approved(self, talk: Transcript, state: ExecutionState) -> None:
        approved: ApprovedOrder = talk.event.record
        name, is_verified = approved.approval.approval_id, admission.is_verified(talk.event)
        if admission.is_answered(state, approved) or (
            not is_verified and doubts.is_held(state, name)
        ):
            talk.incident(Code.REUSED, f"Approval {name} came again; nothing was sent.")
            return
        if not is_verified:
            doubts.raised(talk, approved)
            return
        # The id counts as used from here on, whatever the answer.
        talk.state = bookkeeping.approval_seen(state, talk.event, self.rules)
        refusal = admission.refusal(
            Question(state=state, event=talk.event, context=self.context, rules=self.rules)
        )
        if refusal is not None:
            update = life_cycle.denied(approved, refusal.code, refusal.reason, talk.session_ns)
            talk.update(update, talk.correlation_id)
        elif approved.action is OrderAction.CANCEL:
            self._cancel(talk, approved)
        elif approved.action is OrderAction.AMEND:
            order = talk.state.orders[approved.order.client_order_id]
            quantity = approved.order.quantity
            self._send(talk, *amendments.asked(talk, order, approved, quantity))
        else:
            self._submit(talk, approved)

    def _submit(self, talk: Transcript, approved: ApprovedOrder) -> None:
        status = next_status(OrderStatus.APPROVED, Trigger.SUBMIT)
        assert status is not None
        if approved.approval.schedule is not None:
            self._begin(talk, approved, status)
            return
        order = LiveOrder(
            approved=approved,
            order=approved.order,
            correlation_id=talk.correlation_id,
            status=OrderStatus.APPROVED,
        )
        update = life_cycle.update_of(order, status, talk.session_ns)
        self._send(talk, update, self._command(talk, CommandKind.SUBMIT, approved))

    def _begin(self, talk: Transcript, approved: ApprovedOrder, status: OrderStatus) -> None:
        """The first send of a schedule; `scheduling.work` goes on from there."""
        parent = ParentOrder(
            approved=approved, correlation_id=talk.correlation_id, status=OrderStatus.APPROVED
        )
        if parent.is_sliced:
            talk.update(scheduling.told(parent, status, talk.session_ns), talk.correlation_id)
        first = parent.schedule.children[0]
        scheduling.send_child(talk, self._desk, parent, 0, first.quantity)

    def _cancel(self, talk: Transcript, approved: ApprovedOrder) -> None:
        approval, name = approved.approval, approved.order.client_order_id
        cancel = PendingCancel(approval_id=approval.approval_id, decision_id=approval.decision_id)
        parent = talk.state.parents.get(name)
        if parent is not None and not parent.is_over and name not in talk.state.orders:
            self._cancel_parent(talk, parent, cancel)
            return
        order = talk.state.known_order(name)
        if order is None:
            assert parent is not None, "admission has looked it up"
            update = scheduling.told(parent, parent.status, talk.session_ns)
            talk.update(life_cycle.answering(update, cancel, is_terminal=True), talk.correlation_id)
            return
        if order.status in TERMINAL:
            update = life_cycle.cancel_update(order, cancel, talk.session_ns)
            talk.update(update, talk.correlation_id)
            return
        status = next_status(order.status, Trigger.REQUEST_CANCEL)
        assert status is not None
        update = life_cycle.answering(life_cycle.update_of(order, status, talk.session_ns), cancel)
        self._send(talk, update, self._command(talk, CommandKind.CANCEL, approved))

    def _cancel_parent(
        self, talk: Transcript, parent: ParentOrder, cancel: PendingCancel | None, reason: str = ""
    ) -> None:
        """No further slice is sent, or no leg protects any more; `scheduling.work` does the rest.
        Without `cancel` it is the kill switch's."""
        status = parent.status
        if parent.is_sliced:
            found = next_status(status, Trigger.REQUEST_CANCEL)
            assert found is not None
            status = found
        update = replace(scheduling.told(parent, status, talk.session_ns), reason=reason)
        talk.update(
            update if cancel is None else life_cycle.answering(update, cancel), talk.correlation_id
        )

    def _on_control(self, talk: Transcript, state: ExecutionState) -> None:
        record = talk.event.record
        code = switchboard.ignored_because(state.switchboard, talk.event, self.context.run_id)
        if code:
            halting.ignored(talk, record, code)
            return
        talk.state = self._evolve_input(state, talk.event)
        if isinstance(record, AcceptVenueTruth):
            external.accepted(talk, record)
        elif isinstance(record, CancelAll | Flatten):
            self._sweep(talk, record, f"{type(record).__name__} {record.command_id}")

    @exact
    def _on_trip(self, state: ExecutionState, event: Input, trip: LocalTrip) -> Sequence[Output]:
        if trip.trip_id in state.switchboard.trips:
            return ()
        talk = Transcript(self.context, event, state, self.evolve)
        halting.tell(talk, trip)
        talk.state = self.evolve(state, event)
        self._sweep(talk, trip, f"Trip {trip.trip_id}")
        scheduling.work(talk, self._desk)
        return talk.outputs

    def _sweep(self, talk: Transcript, record: switchboard.Sweep, reason: str) -> None:
        """Cancels what a command or trip covers."""
        for name in sorted(halting.swept_parents(talk.state, record)):
            parent = talk.state.parents[name]
            if parent.is_sliced and parent.status is not OrderStatus.PENDING_CANCEL:
                self._cancel_parent(talk, parent, None, reason)
        for order_id in sorted(talk.state.orders):
            order = talk.state.orders[order_id]
            if order.status is OrderStatus.PENDING_CANCEL:
                continue
            decision_id = order.approved.approval.decision_id
            if not switchboard.is_swept(talk.state.switchboard, record, order.order, decision_id):
                continue
            status = next_status(order.status, Trigger.REQUEST_CANCEL)
            assert status is not None
            update = replace(life_cycle.update_of(order, status, talk.session_ns), reason=reason)
            # Covered by the order's own approval: a cancel by the kill switch needs no other.
            command = self._command(talk, CommandKind.CANCEL, order.approved)
            command = replace(
                command,
                child_index=order.child_index,
                client_order_id=order.name,
                quantity=order.order.quantity,
            )
            self._send(talk, update, command)

    def _command(
        self, talk: Transcript, kind: CommandKind, approved: ApprovedOrder
    ) -> VenueCommand:
        return VenueCommand(
            command_id=talk.derived("VenueCommand"),
            kind=kind,
            venue=approved.order.venue,
            child_index=0,
            client_order_id=approved.order.client_order_id,
            quantity=approved.order.quantity,
            approved=approved,
            ts_event_ns=talk.session_ns,
        )

    def _send(self, talk: Transcript, update: OrderUpdate, command: VenueCommand) -> None:
        """Says the command and, where the venue is on paper, hears its answer at once. What leaves
        for an order with a schedule belongs to its workflow, whatever input made it due."""
        paper, approved = talk.state.paper, command.approved
        parent = talk.state.parents.get(approved.order.client_order_id)
        correlation_id, cause = talk.correlation_id, None
        if parent is not None and parent.approval_id == approved.approval.approval_id:
            correlation_id, cause = parent.correlation_id, parent.approval_id
        is_heard = not self._leaves(talk.state, command)
        # Found first: whoever evolves over the command afterwards need not work it out again.
        said = self.paper.decide(paper, command, talk.session_ns) if is_heard else ()
        event_id = talk.update(replace(update, command=command), correlation_id, cause)
        self._hear_paper(talk, said, event_id)

    # ---- evolve

    def evolve(self, state: ExecutionState, event: Input | Output) -> ExecutionState:
        """State after an input or one of the core's own outputs."""
        record = event.record
        if type(record) in TICKS and remember(state.paper, record):
            return state
        if isinstance(event, Output):
            return self._evolve_output(state, event)
        if isinstance(record, LocalTrip):
            return halting.after(state, record, switchboard.tripped(state.switchboard, record))
        return self._evolve_input(state, event)

    @exact
    def _evolve_input(self, state: ExecutionState, event: Input) -> ExecutionState:
        record = event.record
        match record:
            case Trade() | Quote() | BookSnapshot() | FundingRate():
                return replace(state, paper=self.paper.evolve(state.paper, record))
            case Watermark():
                return self._after_watermark(state, event)
            case ApprovedOrder():
                return bookkeeping.approval_seen(state, event, self.rules)
            case SetTradingState() | CancelAll() | Flatten() | AcceptVenueTruth():
                board = switchboard.evolved(state.switchboard, event, self.context.run_id)
                return halting.after(state, record, board)
            case SetLiveSwitch():
                return self._after_live_switch(state, event)
            case VenueStatement() | TradeBust() | NotSent():
                return self._after_outside(state, event)
            case TimerFired():
                state = bookkeeping.housekept(state, record.ts_event_ns)
                paper = self.paper.evolve(state.paper, record)
                return replace(state, paper=paper, looked_ns=record.ts_event_ns)
            case Account() | Instrument() | Venue():
                if bookkeeping.config_fault(state, record):
                    return state
                state = bookkeeping.configured(state, record)
                state = external.configured(state, self.context.mode, self.context.shard)
                return replace(state, paper=self.paper.evolve(state.paper, record))
        return state

    def _after_live_switch(self, state: ExecutionState, event: Input) -> ExecutionState:
        board = switchboard.evolved(state.switchboard, event, self.context.run_id)
        if board is state.switchboard:
            return state
        record: SetLiveSwitch = event.record
        state = replace(state, switchboard=board)
        return external.switched(state, record.scope_id, record.is_on)

    def _after_outside(self, state: ExecutionState, event: Input) -> ExecutionState:
        record: VenueStatement | TradeBust | NotSent = event.record
        if not self._goes_outside(state, record.venue):
            return state
        if isinstance(record, NotSent):
            return shadow.evolved(state, self.paper, event, self.context.mode)
        if isinstance(record, VenueStatement):
            return external.after_statement(state, record, event.session_ns)
        kept_until_ns = event.session_ns + self.rules.external_order_kept_ns
        return external.after_bust(state, record, kept_until_ns)

    def _after_watermark(self, state: ExecutionState, event: Input) -> ExecutionState:
        record: Watermark = event.record
        is_risks = record.source == f"risk/{self.context.shard}"
        if event.topic != topics.APPROVED_ORDERS or not is_risks:
            return state
        return replace(state, heartbeat=RiskHeartbeat(ts_event_ns=record.ts_event_ns))

    @exact
    def _evolve_output(self, state: ExecutionState, event: Output) -> ExecutionState:
        record = event.record
        match record:
            case OrderUpdate():
                state = bookkeeping.updated(state, record, self.rules)
                if record.command is not None and not self._leaves(state, record.command):
                    paper = self.paper.evolve(state.paper, record.command)
                    state = replace(state, paper=paper)
            case Fill():
                state = bookkeeping.filled(state, record)
                state = external.after_fill(state, record)
            case CashAdjustment() | FundingPayment() | PositionCorrection() | VenueDrift():
                if record.account_id in state.external.books:
                    return external.after_account_event(state, record)
                assert isinstance(record, CashAdjustment | FundingPayment)
                state = replace(state, paper=self.paper.evolve(state.paper, record))
            case VenueReport():
                state = replace(state, paper=self.paper.evolve(state.paper, record))
        return state
