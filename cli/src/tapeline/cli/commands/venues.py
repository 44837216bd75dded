"""Commands about external venues: the live switch of an account, and venue truth against ours."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tapeline.cli.commands.halting import EXPIRY_NS, require_reason
from tapeline.cli.commands.options import AsJson, RunName, print_json
from tapeline.cli.desk import Desk, desk
from tapeline.cli.order_asked import BadOrder
from tapeline.cli.runs import OPERATOR
from tapeline.cli.sending import Sender
from tapeline.contracts import topics
from tapeline.contracts.accounts import VenueDrift
from tapeline.contracts.config import Account
from tapeline.contracts.control import AcceptVenueTruth, ScopeKind, SetLiveSwitch
from tapeline.contracts.orders import Mode
from tapeline.runtime import clock
from tapeline.runtime.ids import derive_id
from tapeline.runtime.keys import Signer
from tapeline.runtime.signing import sign


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (live, reconcile):
        app.command(command.__name__)(command)


def live(
    state: Annotated[str, typer.Argument(help="on or off.")],
    account: Annotated[str, typer.Option("--account", help="The account.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; kept with the record.")],
    run: RunName = "",
) -> None:
    """Let an account of a live run trade with real money, or no longer: signed."""
    if state not in ("on", "off"):
        raise BadOrder(f"{state!r} is no state of a switch.", "Write on or off.")
    require_reason(reason)
    with desk(run, must_run=True) as place:
        mode = _modes(place, account)[account]
        if mode is not Mode.LIVE:
            raise BadOrder(
                f"{account} is an account of mode {mode.value}: nothing of it reaches a venue.",
                "The switch is for accounts whose record says LIVE.",
            )
        now_ns = clock.wall_ns()
        signer = _signer(place)
        record = SetLiveSwitch(
            scope=ScopeKind.ACCOUNT,
            scope_id=account,
            is_on=state == "on",
            **_signed(place, signer, reason, now_ns),
        )
        event_id = derive_id(place.run.run_id, "cli", str(now_ns), f"live/{account}")
        key = f"ACCOUNT:{account}/SetLiveSwitch"
        _send(place, key, sign(record, signer), event_id)
    typer.echo(f"live {state}: {account}")


def reconcile(
    account: Annotated[str, typer.Option("--account", help="Only this account.")] = "",
    accept: Annotated[
        bool, typer.Option("--accept", help="Book exactly the differences that are shown.")
    ] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept with the record.")] = "",
    run: RunName = "",
    as_json: AsJson = False,
) -> None:
    """Show where a venue's books and ours differ; with --accept take the venue's figures."""
    if accept and not (account and reason.strip()):
        raise BadOrder(
            "Accepting needs an account and a reason.", "Add --account and --reason, both signed."
        )
    with desk(run, must_run=accept) as place:
        if account:
            _modes(place, account)
        found = open_drifts(place, account)
        _show(found, as_json)
        if accept and found:
            _accept(place, account, reason, found)
            typer.echo(f"accepted {len(found)}; `tapeline reconcile` shows when they are booked")
    if found and not accept:
        raise typer.Exit(1)


def _modes(place: Desk, wanted: str) -> dict[str, Mode]:
    """The mode of each account of the run; raises BadOrder where the one wanted is not there."""
    accounts = [one.record for one in place.records.all(topics.CONFIG, Account)]
    modes = {account.account_id: account.mode for account in accounts}
    if wanted not in modes:
        raise BadOrder(f"There is no account {wanted}.", f"The accounts are {', '.join(modes)}.")
    return modes


def open_drifts(place: Desk, account: str = "") -> list[VenueDrift]:
    """The differences that have not been settled, by account and subject."""
    latest: dict[tuple[str, str], VenueDrift] = {}
    for item in place.records.all(topics.ACCOUNT_EVENTS, VenueDrift):
        drift: VenueDrift = item.record
        if account in ("", drift.account_id):
            latest[drift.account_id, drift.subject] = drift
    return [latest[key] for key in sorted(latest) if latest[key].is_open]


def _accept(place: Desk, account: str, reason: str, found: list[VenueDrift]) -> None:
    now_ns = clock.wall_ns()
    signer = _signer(place)
    command_id = derive_id(place.run.run_id, "cli", str(now_ns), f"accept/{account}")
    record = AcceptVenueTruth(
        command_id=command_id,
        scope=ScopeKind.ACCOUNT,
        scope_id=account,
        drift_ids=tuple(drift.drift_id for drift in found),
        expires_ns=now_ns + EXPIRY_NS,
        **_signed(place, signer, reason, now_ns),
    )
    key = f"ACCOUNT:{account}/AcceptVenueTruth"
    _send(place, key, sign(record, signer), command_id)


def _send(place: Desk, key: str, record: Any, event_id: str) -> None:
    sender = Sender(place.config, place.run)
    sender.send(topics.CONTROL, 0, key, record, event_id)
    sender.finish()


def _signer(place: Desk) -> Signer:
    return Signer.from_file(place.folder / "keys" / "private" / f"{OPERATOR}.key")


def _signed(place: Desk, signer: Signer, reason: str, now_ns: int) -> dict[str, Any]:
    return {
        # Nanoseconds ascend over restarts of whoever signs.
        "sequence": now_ns,
        "operator": signer.key_id,
        "reason": reason,
        "issued_ns": now_ns,
        "run_id": place.run.run_id,
        "key_id": "",
        "signature": b"",
    }


def _show(found: list[VenueDrift], as_json: bool) -> None:
    rows = [
        {
            "account": drift.account_id,
            "subject": drift.subject,
            "ours": f"{drift.ours.normalize():f}",
            "theirs": f"{drift.theirs.normalize():f}",
            "since_ns": drift.ts_event_ns,
            "drift_id": drift.drift_id,
        }
        for drift in found
    ]
    if as_json:
        print_json(rows)
    elif not rows:
        typer.echo("no differences")
    for row in () if as_json else rows:
        typer.echo(f"{row['account']}  {row['subject']}  ours {row['ours']}  venue {row['theirs']}")
