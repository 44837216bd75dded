"""Commands that trade by hand: order, cancel.

They write decisions of the group MANUAL, which risk answers like any other.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

import typer

from tapeline.cli.commands.options import AsJson, RunName, print_json
from tapeline.cli.desk import Desk, desk
from tapeline.cli.sending import ANSWER_S, Sender
from tapeline.contracts import topics
from tapeline.contracts.agents import Decision, DecisionKind
from tapeline.contracts.config import Account
from tapeline.contracts.orders import ApprovedOrder, OrderType, Side, TimeInForce
from tapeline.contracts.risk import Denial
from tapeline.runtime import clock
from tapeline.runtime.exits import Failure
from tapeline.runtime.ids import derive_id

MANUAL = "MANUAL"


class BadOrder(Failure):
    """An argument makes no sense."""

    exit_code = 64


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (order, cancel):
        app.command(command.__name__)(command)


def order(
    side: Annotated[str, typer.Argument(help="buy or sell.")],
    quantity: Annotated[str, typer.Argument(help="Quantity, in the instrument's unit.")],
    instrument: Annotated[str, typer.Argument(help="Instrument, such as SP500.US.")],
    account: Annotated[str, typer.Option("--account", help="Account to trade.")],
    limit: Annotated[str, typer.Option("--limit", help="Limit price; without it at market.")] = "",
    time_in_force: Annotated[str, typer.Option("--tif", help="GTC, IOC, FOK or DAY.")] = "GTC",
    reduce_only: Annotated[bool, typer.Option("--reduce-only", help="Only close.")] = False,
    run: RunName = "",
    as_json: AsJson = False,
) -> None:
    """Ask for an order by hand; risk approves or denies it like any other decision."""
    if side.upper() not in Side.__members__:
        raise BadOrder(f"{side!r} is no side.", "Write buy or sell.")
    if time_in_force.upper() not in TimeInForce.__members__:
        raise BadOrder(f"{time_in_force!r} is unknown.", "Write GTC, IOC, FOK or DAY.")
    with desk(run, must_run=True) as place:
        decision = manual_decision(
            place.run.run_id,
            account,
            kind=DecisionKind.ORDER,
            instrument_id=instrument,
            side=Side(side.upper()),
            quantity=number(quantity, "quantity"),
            order_type=OrderType.LIMIT if limit else OrderType.MARKET,
            limit_price=number(limit, "limit") if limit else None,
            time_in_force=TimeInForce(time_in_force.upper()),
            is_reduce_only=reduce_only,
        )
        answer = decide(place, decision)
    show_answer(answer, as_json)


def cancel(
    client_order_id: Annotated[str, typer.Argument(help="The order; see `tapeline orders`.")],
    account: Annotated[str, typer.Option("--account", help="Account of the order.")],
    run: RunName = "",
    as_json: AsJson = False,
) -> None:
    """Ask for the cancellation of an order."""
    with desk(run, must_run=True) as place:
        decision = manual_decision(
            place.run.run_id, account, kind=DecisionKind.CANCEL, client_order_id=client_order_id
        )
        answer = decide(place, decision)
    show_answer(answer, as_json)


def number(text: str, name: str) -> Decimal:
    """A positive decimal."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal(0)
    if not (value.is_finite() and value > 0):
        raise BadOrder(f"The {name} {text!r} is not a positive number.", "Correct it.")
    return value


def manual_decision(run_id: str, account_id: str, **fields: Any) -> Decision:
    """A decision of the operator's; its cycle is the moment it was made."""
    now_ns = clock.wall_ns()
    values: dict[str, Any] = {
        "decision_id": derive_id(run_id, MANUAL, f"{account_id}/{now_ns}", "Decision"),
        "account_id": account_id,
        "group_id": MANUAL,
        "cycle_ns": now_ns,
        "index": 0,
        "instrument_id": "",
        "target_weight": None,
        "side": None,
        "quantity": None,
        "order_type": OrderType.MARKET,
        "limit_price": None,
        "time_in_force": TimeInForce.GTC,
        "is_reduce_only": False,
        "is_post_only": False,
        "client_order_id": None,
        "confidence": 1.0,
        "reference_price": 0.0,
        "model": "",
        "is_offline_model": False,
        "reason": "by hand",
        "ts_event_ns": now_ns,
        "ts_init_ns": now_ns,
    }
    return Decision(**{**values, **fields})


def decide(place: Desk, decision: Decision) -> Any:
    """Sends a decision to its account's shard and waits for risk's answer; None without one."""
    accounts = place.records.latest(
        topics.CONFIG, lambda record: getattr(record, "account_id", "") + type(record).__name__
    )
    account = accounts.get(f"{decision.account_id}Account")
    if not isinstance(account, Account):
        names = [item.account_id for item in accounts.values() if isinstance(item, Account)]
        raise BadOrder(
            f"There is no account {decision.account_id}.", f"The accounts are {', '.join(names)}."
        )
    sender = Sender(place.config, place.run)
    sender.send(
        topics.DECISIONS, account.shard, decision.account_id, decision, decision.decision_id
    )
    sender.finish()
    return answer_of(place, decision.decision_id)


def answer_of(place: Desk, decision_id: str) -> Any:
    """Risk's answer to a decision, within the bound."""
    deadline_s = clock.monotonic_s() + ANSWER_S
    while clock.monotonic_s() < deadline_s:
        for item in place.records.all(topics.RISK_EVENTS, Denial):
            if item.record.decision_id == decision_id:
                return item.record
        for item in place.records.all(topics.APPROVED_ORDERS, ApprovedOrder):
            if item.record.approval.decision_id == decision_id:
                return item.record
    return None


def show_answer(answer: Any, as_json: bool) -> None:
    """Prints risk's answer; a denial or silence is a non-zero exit."""
    if isinstance(answer, ApprovedOrder):
        facts = {
            "answer": "approved",
            "client_order_id": answer.order.client_order_id,
            "action": answer.action.value,
            "quantity": str(answer.order.quantity.normalize()),
        }
    elif isinstance(answer, Denial):
        facts = {"answer": "denied", "code": answer.code.value, "reason": answer.reason}
    else:
        facts = {"answer": "none", "reason": f"risk has not answered within {ANSWER_S:.0f} s"}
    if as_json:
        print_json(facts)
    else:
        typer.echo("  ".join(str(value) for value in facts.values()))
    if facts["answer"] != "approved":
        raise typer.Exit(1)
