"""Shadow runs: an order takes the whole way but the request, and the paper venue imitates the rest.

The sender says NotSent with the code EXECUTION_SHADOW where it would have sent. From there on the
order lives at the paper venue inside the core, under the rules of its venue's record, against the
ticks of the run: it is accepted, filled, canceled and amended there. Nothing is asked of the real
venue, and what it would have filled is a guess.
"""

from __future__ import annotations

from tapeline.contracts.frozen import replace
from tapeline.contracts.orders import (
    CommandKind,
    Mode,
    NotSent,
    OrderStatus,
    VenueCommand,
)
from tapeline.execution.external_state import SHADOW
from tapeline.execution.state import ExecutionState
from tapeline.execution.transcript import Transcript
from tapeline.execution.venues.paper import PaperVenue, Said
from tapeline.runtime.core import Input


def hears_reports(mode: str) -> bool:
    """Whether `venue-reports` holds words of a venue; in a shadow run they are the core's own."""
    return mode != Mode.SHADOW.value


def is_imitated(state: ExecutionState, client_order_id: str) -> bool:
    """Whether an order lives at the paper venue in place of its own."""
    order = state.orders.get(client_order_id)
    return order is not None and order.is_imitated


def handed_over(state: ExecutionState, event: Input, mode: str) -> VenueCommand | None:
    """The command by which the paper venue takes an order over, or None where it does not."""
    record: NotSent = event.record
    order = state.orders.get(record.client_order_id)
    if mode != Mode.SHADOW.value or record.code != SHADOW or order is None or order.is_imitated:
        return None
    if order.status is not OrderStatus.SUBMITTED:
        # A cancel came first: it ends as what never left.
        return None
    return VenueCommand(
        command_id=record.command_id,
        kind=CommandKind.SUBMIT,
        venue=order.order.venue,
        child_index=order.child_index,
        client_order_id=order.name,
        quantity=order.order.quantity,
        approved=order.approved,
        ts_event_ns=event.session_ns,
    )


def decided(talk: Transcript, venue: PaperVenue, command: VenueCommand) -> tuple[Said, ...]:
    """What the paper venue answers at once; the state of the talk is the one behind the input."""
    reports = venue.decide(talk.state.paper, command, talk.session_ns)
    talk.state = after(talk.state, venue, command)
    return reports


def evolved(state: ExecutionState, venue: PaperVenue, event: Input, mode: str) -> ExecutionState:
    """After a sender's word that an order did not leave."""
    command = handed_over(state, event, mode)
    return state if command is None else after(state, venue, command)


def after(state: ExecutionState, venue: PaperVenue, command: VenueCommand) -> ExecutionState:
    """With an order at the paper venue."""
    name = command.client_order_id
    order = replace(state.orders[name], is_imitated=True)
    paper = venue.evolve(state.paper, command)
    return replace(state, orders={**state.orders, name: order}, paper=paper)
