"""The money path of a backtest: risk and execution with its paper venue, in one process.

The cores are those of the services and are driven as a shard drives them: decide, evolve over the
input, evolve over each output; a timer behind the inputs of its time. Approvals are signed with a
throw-away key and verified before execution sees them. What execution says, risk hears at once.

Everything said is digested in the order in which it was said: decisions, approvals, denials and
other words of risk, order updates, fills, without authentication codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from tapeline.backtest.engine.setup import ACCOUNT, Setup
from tapeline.contracts import topics
from tapeline.contracts.agents import Decision
from tapeline.contracts.market import MarkPrice, Trade
from tapeline.contracts.orders import ApprovedOrder, Fill, OrderUpdate
from tapeline.contracts.risk import Denial, LimitWarning
from tapeline.execution import admission, bookkeeping
from tapeline.execution.core import ExecutionCore
from tapeline.risk.core import RiskCore
from tapeline.risk.state import AccountState
from tapeline.runtime.bulk import BulkInput
from tapeline.runtime.codec import digest_body, schema_of
from tapeline.runtime.core import Context, Input, MoneyCore, Output, TimerFired
from tapeline.runtime.ids import derive_id
from tapeline.runtime.signing import KeyRing, seal, seal_verdict

MODE: Final = "BACKTEST"
KEY: Final = bytes(range(32))
"""Protects nothing: both ends are here."""
DIGESTED: Final = (
    topics.DECISIONS,
    topics.APPROVED_ORDERS,
    topics.RISK_EVENTS,
    topics.ORDER_UPDATES,
    topics.FILLS,
)
HEADS: Final = {topic: topic.encode() for topic in DIGESTED}
HEARD_BY_RISK: Final = (topics.ORDER_UPDATES, topics.FILLS, topics.ACCOUNT_EVENTS)
SWEPT_MIN: Final = 16
"""Used approvals that are worth a sweep: each new one copies the map of them."""
SPOKEN: Final = (Decision, ApprovedOrder, OrderUpdate, Fill, Denial, LimitWarning)


def get_ready() -> None:
    """Makes the writers of what is digested, which belongs to a start and not to a run."""
    for kind in SPOKEN:
        schema_of(kind.AVRO)


@dataclass(slots=True)
class Said:
    """What the run said, for tables and sums."""

    decisions: list[Decision] = field(default_factory=list)
    approvals: list[ApprovedOrder] = field(default_factory=list)
    denials: list[Denial] = field(default_factory=list)
    updates: list[OrderUpdate] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)


class Desk:
    """Risk and execution of one account, and what they have said."""

    def __init__(self, setup: Setup, start_ns: int, *, is_short_cut: bool = False) -> None:
        """Both know the configuration from `start_ns` on, before any data.

        `is_short_cut`: the state that execution's own words have led to while it found them is
        taken over where it must be the one that evolving over them once more comes to.
        """
        self._is_short_cut = is_short_cut
        # What a tick lacks is told while orders are open, so its place among their ends matters.
        self._eats_sizes = bool(setup.costs.participation_max)
        self._instrument_id = setup.instrument_id
        self._risk_context = _context(setup, "risk")
        self._risk = RiskCore(self._risk_context)
        self._execution = ExecutionCore(_context(setup, "execution"))
        self._risk_state = self._risk.initial()
        self._execution_state = self._execution.initial()
        self._ring = KeyRing.of({"backtest": KEY}, "backtest", frozenset())
        self._digest = sha256()
        self._offsets = 0
        self.said = Said()
        for record in setup.records():
            event = Input(record=record, topic=topics.CONFIG, partition=0, session_ns=start_ns)
            self._step_risk(event)
            self._step_execution(event)

    @property
    def digest(self) -> str:
        """SHA-256 over everything said so far, hex."""
        return self._digest.hexdigest()

    @property
    def is_open(self) -> bool:
        """Whether the venue holds an order: then every tick counts."""
        return self._instrument_id in self._execution_state.paper.by_instrument

    @property
    def cash(self) -> Any:
        """Cash of the account as risk has booked it, exact."""
        ledger = self._risk_state.accounts[ACCOUNT].ledger
        (cash,) = ledger.cash.values()
        return cash

    @property
    def position(self) -> Any:
        """Signed quantity held, exact."""
        return self._risk_state.accounts[ACCOUNT].ledger.net_quantity(self._instrument_id)

    @property
    def account(self) -> AccountState:
        """The account as risk has it."""
        return self._risk_state.accounts[ACCOUNT]

    def dumped(self) -> tuple[bytes, bytes]:
        """Canonical states of risk and of execution."""
        return self._risk.dump(self._risk_state), self._execution.dump(self._execution_state)

    def mark(self, mark: MarkPrice, session_ns: int) -> None:
        """Tells risk a price; it says nothing to that."""
        event = Input(record=mark, topic=topics.MARKS, partition=0, session_ns=session_ns)
        self._risk_state = self._risk.evolve(self._risk_state, event)

    def decide(self, decision: Decision, session_ns: int) -> None:
        """The whole way of a decision, up to the venue."""
        self._note(topics.DECISIONS, decision)
        self.said.decisions.append(decision)
        event = Input(
            record=decision,
            topic=topics.DECISIONS,
            partition=0,
            offset=self._next_offset(),
            event_id=decision.decision_id,
            session_ns=session_ns,
        )
        for output in self._step_risk(event):
            if type(output.record) is ApprovedOrder:
                self._submit(output, session_ns)
        self._execution_timer(session_ns)

    def tick(self, trade: Trade, offset: int) -> None:
        """A tick for the venue; with nothing open it is only remembered."""
        session_ns = trade.ts_event_ns
        event = BulkInput(
            record=trade, topic=topics.TICKS, partition=0, offset=offset, session_ns=session_ns
        )
        if not self._is_short_cut or self._eats_sizes or not self.is_open:
            self._step_execution(event)
        else:
            self._fill(event)
        # Housekeeping waits for the next decision; what the venue is due for does not.
        due_ns = self._execution_state.paper.due_ns
        if due_ns is not None and due_ns <= session_ns:
            self._execution_timer(session_ns)

    def _execution_timer(self, session_ns: int) -> None:
        """Fires execution's timer where it is due: its clock moves with ticks and decisions. For
        the housekeeping alone, which says nothing, it waits until there is something to sweep."""
        state = self._execution_state
        if len(state.used) < SWEPT_MIN and bookkeeping.is_quiet(state, session_ns):
            return
        due_ns = self._execution.next_due_ns(state)
        if due_ns is not None and due_ns <= session_ns:
            self._step_execution(_timer(self._execution.context, session_ns))

    def risk_timer(self, session_ns: int) -> None:
        """Fires risk's timer where it is due."""
        due_ns = self._risk.next_due_ns(self._risk_state)
        if due_ns is not None and due_ns <= session_ns:
            self._step_risk(_timer(self._risk_context, session_ns))

    # ---- stepping

    def _step_risk(self, event: Input) -> Sequence[Output]:
        outputs, self._risk_state = self._stepped(self._risk, self._risk_state, event)
        for output in outputs:
            record = output.record
            if type(record) is ApprovedOrder:
                self.said.approvals.append(record)
            elif type(record) is Denial:
                self.said.denials.append(record)
        return outputs

    def _step_execution(self, event: Input) -> None:
        outputs, self._execution_state = self._stepped(
            self._execution, self._execution_state, event
        )
        self._tell(outputs, event)

    def _hear(self, outputs: Sequence[Output], cause: Input) -> None:
        """Notes what execution has said, its state being known."""
        for output in outputs:
            if output.topic in DIGESTED:
                self._note(output.topic, output.record)
        self._tell(outputs, cause)

    def _tell(self, outputs: Sequence[Output], cause: Input) -> None:
        for output in outputs:
            if output.topic in HEARD_BY_RISK:
                self._tell_risk(output, cause)

    def _stepped(
        self, core: MoneyCore[Any], state: Any, event: Input
    ) -> tuple[Sequence[Output], Any]:
        outputs = core.decide(state, event)
        state = core.evolve(state, event)
        for output in outputs:
            if output.topic in DIGESTED:
                self._note(output.topic, output.record)
            if output.topic in core.outputs:
                state = core.evolve(state, output)
        return outputs, state

    def _submit(self, output: Output, session_ns: int) -> None:
        """Signs an approval, and hands it to execution as that finds it."""
        sealed = seal(output.record, self._ring)
        event = Input(
            record=sealed,
            topic=topics.APPROVED_ORDERS,
            partition=0,
            offset=self._next_offset(),
            event_id=output.event_id,
            session_ns=session_ns,
            verdict=seal_verdict(sealed, self._ring),
        )
        is_new = not event.verdict and not admission.is_answered(self._execution_state, sealed)
        if not self._is_short_cut or not is_new:
            self._step_execution(event)
            return
        # A new approval that verifies is evolved over first thing.
        talk = self._execution.talk(self._execution_state, event)
        self._execution_state = talk.state
        self._hear(talk.outputs, event)

    def _fill(self, event: Input) -> None:
        """A tick while an order is open: where all of them end in it, and no size of it is used up,
        it does not matter whether the tick or what it did is evolved over first."""
        before = self._execution_state
        talk = self._execution.talk(before, event)
        if self._instrument_id in talk.state.paper.by_instrument:
            self._step_execution(event)
            return
        self._execution_state = self._execution.evolve(talk.state, event)
        self._hear(talk.outputs, event)

    def _tell_risk(self, output: Output, cause: Input) -> None:
        record = output.record
        if type(record) is Fill:
            self.said.fills.append(record)
        elif type(record) is OrderUpdate:
            self.said.updates.append(record)
        event = Input(
            record=record,
            topic=output.topic,
            partition=0,
            offset=self._next_offset(),
            event_id=output.event_id,
            session_ns=cause.session_ns,
        )
        self._step_risk(event)

    def _note(self, topic: str, record: Any) -> None:
        body = digest_body(record)
        self._digest.update(b"%s\0%d\0%s" % (HEADS[topic], len(body), body))

    def _next_offset(self) -> int:
        self._offsets += 1
        return self._offsets


def _context(setup: Setup, service: str) -> Context:
    """Paced: nobody waits here for a sign of life."""
    return Context(run_id=setup.run_id, service=service, shard=0, mode=MODE, is_paced=True)


def _timer(context: Context, session_ns: int) -> Input:
    event_id = derive_id(context.run_id, context.instance, str(session_ns), "Timer")
    return Input(
        record=TimerFired(ts_event_ns=session_ns),
        topic="",
        event_id=event_id,
        session_ns=session_ns,
    )
