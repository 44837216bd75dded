"""`tapeline keys`: the secrets that sign approvals, and operators' keys."""

from __future__ import annotations

from typing import Annotated

import typer

from tapeline.cli.commands.options import AsJson, RunName, print_json
from tapeline.cli.home import home
from tapeline.cli.runs import RunStore
from tapeline.runtime.exits import Failure
from tapeline.runtime.keys import (
    KEYS_MAX,
    OPERATOR_FOLDER,
    SEAL_FOLDER,
    KeyRing,
    create_secret,
    create_signer,
    revoke,
)


class RingFull(Failure):
    """Two keys are valid already."""

    exit_code = 64


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    keys = typer.Typer(no_args_is_help=True, help="Keys that sign approvals and control records.")
    keys.command("create")(create)
    keys.command("rotate")(rotate)
    keys.command("revoke")(revoke_key)
    keys.command("list")(show)
    app.add_typer(keys, name="keys")


def create(
    name: Annotated[str, typer.Argument(help="Name of the new operator's key.")],
    run: RunName = "",
) -> None:
    """Create an operator's key, which may halt and resume trading."""
    store = RunStore(home())
    folder = store.folder(store.get(run).name) / "keys"
    create_signer(folder / "private", folder / OPERATOR_FOLDER, name)
    typer.echo(f"operator {name}: {folder / 'private' / name}.key; services trust it from now on")


def rotate(
    name: Annotated[str, typer.Argument(help="Name of the new approval key, such as 2026-12.")],
    run: RunName = "",
) -> None:
    """Make a new approval key the one that signs; the one before stays valid until revoked."""
    store = RunStore(home())
    folder = store.folder(store.get(run).name) / "keys" / SEAL_FOLDER
    held = KeyRing.from_folder(folder).keys()
    if len(held.valid) >= KEYS_MAX:
        raise RingFull(
            f"{KEYS_MAX} approval keys are valid already: {', '.join(sorted(held.valid))}.",
            "Revoke the older one with `tapeline keys revoke`; what it has signed is refused then.",
        )
    create_secret(folder, name)
    typer.echo(f"approvals are signed with {name}; {held.active} stays valid until you revoke it")


def revoke_key(
    name: Annotated[str, typer.Argument(help="Name of the approval key.")],
    run: RunName = "",
) -> None:
    """Refuse whatever an approval key has signed, from now on."""
    store = RunStore(home())
    revoke(store.folder(store.get(run).name) / "keys" / SEAL_FOLDER, name)
    typer.echo(f"what {name} has signed is refused within a second")


def show(run: RunName = "", as_json: AsJson = False) -> None:
    """List the approval keys and which of them signs."""
    store = RunStore(home())
    held = KeyRing.from_folder(store.folder(store.get(run).name) / "keys" / SEAL_FOLDER).keys()
    if as_json:
        print_json({"active": held.active, "valid": sorted(held.valid)})
        return
    for name in sorted(held.valid):
        typer.echo(f"{name}{'  signs' if name == held.active else ''}")
