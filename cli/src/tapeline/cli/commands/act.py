"""Commands that trade by hand: order, amend, cancel.

They write decisions of the group MANUAL, signed with the operator's key, which risk answers like
any other.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

import typer

from tapeline.cli.commands.options import AsJson, RunName, print_json
from tapeline.cli.desk import Desk, desk
from tapeline.cli.operators import operator_key, signed_by_hand
from tapeline.cli.order_asked import Asked, BadOrder, number, optional
from tapeline.cli.records import short
from tapeline.cli.runs import Run
from tapeline.cli.sending import ANSWER_S, Sender
from tapeline.cli.volume_profile import profile_of
from tapeline.contracts import topics
from tapeline.contracts.agents import Decision, DecisionKind
from tapeline.contracts.config import Account
from tapeline.contracts.market import Bar
from tapeline.contracts.orders import Algorithm, ApprovedOrder, OrderType, Side, TimeInForce
from tapeline.contracts.risk import Denial
from tapeline.runtime import clock
from tapeline.runtime.ids import derive_id

MANUAL = "MANUAL"
NAMED = {
    "asked_quantity": "of {} asked for: a limit leaves no more",
    "measured": "measured {}",
    "limit": "limit {}",
}
"""How facts are printed that do not speak for themselves."""

StopPrice = Annotated[
    str, typer.Option("--stop", help="Stop price: it waits until the market is there.")
]
TakeProfit = Annotated[
    str, typer.Option("--take-profit", help="Closes what was opened at this price.")
]
StopLoss = Annotated[
    str, typer.Option("--stop-loss", help="Closes what was opened from this price on.")
]
Profile = Annotated[
    str,
    typer.Option(
        "--profile", help="Volumes of VWAP's slices, such as 5,2,1; else from the run's bars."
    ),
]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (order, amend, cancel):
        app.command(command.__name__)(command)


def order(
    side: Annotated[str, typer.Argument(help="buy or sell.")],
    quantity: Annotated[str, typer.Argument(help="Quantity, in the instrument's unit.")],
    instrument: Annotated[str, typer.Argument(help="Instrument, such as SP500.US.")],
    account: Annotated[str, typer.Option("--account", help="Account to trade.")],
    limit: Annotated[str, typer.Option("--limit", help="Limit price; without it at market.")] = "",
    stop: StopPrice = "",
    take_profit: TakeProfit = "",
    stop_loss: StopLoss = "",
    algorithm: Annotated[str, typer.Option("--algorithm", help="twap, vwap or iceberg.")] = "",
    over: Annotated[str, typer.Option("--over", help="How long it is worked, such as 1h.")] = "",
    slices: Annotated[int, typer.Option("--slices", help="Slices of TWAP and VWAP; 12.")] = 0,
    visible: Annotated[str, typer.Option("--visible", help="Part an iceberg shows.")] = "",
    profile: Profile = "",
    time_in_force: Annotated[str, typer.Option("--tif", help="GTC, IOC, FOK or DAY.")] = "GTC",
    reduce_only: Annotated[bool, typer.Option("--reduce-only", help="Only close.")] = False,
    run: RunName = "",
    as_json: AsJson = False,
) -> None:
    """Ask for an order by hand; risk approves or denies it like any other decision."""
    check_words(side, time_in_force)
    asked = Asked(
        limit=limit,
        stop=stop,
        take_profit=take_profit,
        stop_loss=stop_loss,
        algorithm=algorithm,
        over=over,
        slices=slices,
        visible=visible,
        profile=profile,
    )
    terms, amount = asked.fields(), number(quantity, "quantity")
    with desk(run, must_run=True) as place:
        require_real_time(place.run)
        add_profile(place, instrument, terms, asked)
        decision = manual_decision(
            place.run.run_id,
            account,
            kind=DecisionKind.ORDER,
            instrument_id=instrument,
            side=Side(side.upper()),
            quantity=amount,
            time_in_force=TimeInForce(time_in_force.upper()),
            is_reduce_only=reduce_only,
            **terms,
        )
        answer = decide(place, decision)
    show_answer(answer, as_json, amount)


def check_words(side: str, time_in_force: str) -> None:
    """Raises BadOrder for words that mean nothing."""
    if side.upper() not in Side.__members__:
        raise BadOrder(f"{side!r} is no side.", "Write buy or sell.")
    if time_in_force.upper() not in TimeInForce.__members__:
        raise BadOrder(f"{time_in_force!r} is unknown.", "Write GTC, IOC, FOK or DAY.")


def require_real_time(run: Run) -> None:
    """Raises BadOrder where what is asked for now would be ahead of the run's clock."""
    if run.is_paced:
        raise BadOrder(
            f"{run.name} plays {run.source} at the data's own pace: what you ask for today is "
            "ahead of its clock, and risk would deny it as DECISION_FROM_FUTURE.",
            "Orders by hand need a run in real time, such as `tapeline up` with "
            "`tapeline feed synthetic:1`; cancel and halt work in every run.",
        )


def add_profile(place: Desk, instrument: str, terms: dict[str, Any], asked: Asked) -> None:
    """Volumes for VWAP where none were named."""
    if terms["algorithm"] is Algorithm.VWAP and not terms["volume_profile"]:
        terms["volume_profile"] = usual_volumes(
            place, instrument, terms["duration_ns"], asked.slice_count
        )


def usual_volumes(
    place: Desk, instrument: str, duration_ns: int, slice_count: int
) -> tuple[Decimal, ...]:
    """What traded in the run at the times of day that lie ahead; raises BadOrder for nothing."""
    bars = [
        item.record
        for item in place.records.all(topics.BARS, Bar)
        if item.record.instrument_id == instrument
    ]
    found = profile_of(bars, clock.wall_ns(), duration_ns, slice_count)
    if not found:
        raise BadOrder(
            f"The bars of {instrument} show no volume at these times of day.",
            "Give the volumes yourself, such as --profile 5,2,1,4.",
        )
    return found


def amend(
    client_order_id: Annotated[str, typer.Argument(help="The order; see `tapeline orders`.")],
    account: Annotated[str, typer.Option("--account", help="Account of the order.")],
    quantity: Annotated[
        str, typer.Option("--quantity", help="New quantity in all, what is filled included.")
    ] = "",
    limit: Annotated[str, typer.Option("--limit", help="New limit price.")] = "",
    stop: Annotated[str, typer.Option("--stop", help="New stop price.")] = "",
    run: RunName = "",
    as_json: AsJson = False,
) -> None:
    """Ask for new terms of an open order; what is not named stays as it is."""
    if not (quantity or limit or stop):
        raise BadOrder("Nothing is to change.", "Add --quantity, --limit or --stop.")
    terms = {
        "quantity": optional(quantity, "quantity"),
        "limit_price": optional(limit, "limit"),
        "stop_price": optional(stop, "stop"),
    }
    with desk(run, must_run=True) as place:
        require_real_time(place.run)
        decision = manual_decision(
            place.run.run_id,
            account,
            kind=DecisionKind.AMEND,
            client_order_id=client_order_id,
            **terms,
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
    """Signs a decision, sends it to its account's shard and waits for risk's answer; None without
    one."""
    accounts = place.records.latest(
        topics.CONFIG, lambda record: getattr(record, "account_id", "") + type(record).__name__
    )
    account = accounts.get(f"{decision.account_id}Account")
    if not isinstance(account, Account):
        names = [item.account_id for item in accounts.values() if isinstance(item, Account)]
        raise BadOrder(
            f"There is no account {decision.account_id}.", f"The accounts are {', '.join(names)}."
        )
    signer = operator_key(place.folder / "keys")
    if signer is None:
        typer.echo("no operator's key here: sent without a signature", err=True)
    else:
        decision = signed_by_hand(decision, place.run.run_id, signer)
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


def show_answer(answer: Any, as_json: bool, asked: Decimal | None = None) -> None:
    """Prints risk's answer, also that it is for less than was asked for; a denial or silence is a
    non-zero exit."""
    if isinstance(answer, ApprovedOrder):
        facts = {
            "answer": "approved",
            "client_order_id": answer.order.client_order_id,
            "action": answer.action.value,
            "quantity": short(answer.order.quantity),
        }
        if asked is not None and answer.order.quantity < asked:
            facts["asked_quantity"] = short(asked)
    elif isinstance(answer, Denial):
        facts = {"answer": "denied", "code": answer.code.value, "reason": answer.reason}
        for name, figure in (("measured", answer.measured), ("limit", answer.limit)):
            if figure is not None:
                facts[name] = short(figure)
    else:
        facts = {"answer": "none", "reason": f"risk has not answered within {ANSWER_S:.0f} s"}
    if as_json:
        print_json(facts)
    else:
        typer.echo("  ".join(NAMED.get(name, "{}").format(value) for name, value in facts.items()))
    if facts["answer"] != "approved":
        raise typer.Exit(1)
