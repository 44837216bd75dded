"""`tapeline keys`: secrets that sign approvals, operators' keys, secrets of external groups."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tapeline.cli.commands.options import AsJson, RunName, print_json
from tapeline.cli.home import home
from tapeline.cli.runs import RunStore
from tapeline.runtime.exits import USAGE, Failure
from tapeline.runtime.keys import (
    KEYS_MAX,
    OPERATOR_FOLDER,
    SEAL_FOLDER,
    KeyRing,
    create_secret,
    create_signer,
    group_folder,
    revoke,
)

BY_HAND = "MANUAL"
GroupName = Annotated[
    str,
    typer.Option(
        "--group", help="An external group, which signs its decisions; without it approval keys."
    ),
]


class RingFull(Failure):
    """Two keys are valid already."""

    exit_code = USAGE


class HasKey(Failure):
    """There is a key already."""

    exit_code = USAGE


class NoSuchKey(Failure):
    """A name that no key has: revoking it would revoke nothing."""

    exit_code = USAGE


class NoGroup(Failure):
    """Operators sign with keys of their own."""

    exit_code = USAGE


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    keys = typer.Typer(
        no_args_is_help=True, help="Keys that sign approvals, control records and decisions."
    )
    keys.command("create")(create)
    keys.command("rotate")(rotate)
    keys.command("revoke")(revoke_key)
    keys.command("list")(show)
    app.add_typer(keys, name="keys")


def create(
    name: Annotated[str, typer.Argument(help="Name of the new key.")],
    group: Annotated[
        str,
        typer.Option("--group", help="An external group, which signs; without it an operator's."),
    ] = "",
    run: RunName = "",
) -> None:
    """Create an operator's key, which may halt and resume trading; or a group's first secret."""
    keys = _keys(run)
    if not group:
        create_signer(keys / "private", keys / OPERATOR_FOLDER, name)
        path = keys / "private" / f"{name}.key"
        typer.echo(f"operator {name}: {path}; services trust it from now on")
        return
    folder = _ring_folder(keys, group)
    held = _valid(folder)
    if held:
        raise HasKey(
            f"{group} has the key {', '.join(held)}.",
            "Make a new one with `tapeline keys rotate`; both are valid until you revoke one.",
        )
    _say_secret(group, name, _created(folder, name))


def rotate(
    name: Annotated[str, typer.Argument(help="Name of the new key, such as 2026-12.")],
    group: GroupName = "",
    run: RunName = "",
) -> None:
    """Make a new key the one that signs; the one before stays valid until revoked."""
    folder = _ring_folder(_keys(run), group)
    held = KeyRing.from_folder(folder).keys()
    if len(held.valid) >= KEYS_MAX:
        what = f"keys of {group}" if group else "approval keys"
        raise RingFull(
            f"{KEYS_MAX} {what} are valid already: {', '.join(sorted(held.valid))}.",
            "Revoke the older one with `tapeline keys revoke`; what it has signed is refused then.",
        )
    path = _created(folder, name)
    if group:
        _say_secret(group, name, path)
        typer.echo(f"{held.active} stays valid until you revoke it")
        return
    typer.echo(f"approvals are signed with {name}; {held.active} stays valid until you revoke it")


def revoke_key(
    name: Annotated[str, typer.Argument(help="Name of the key.")],
    group: GroupName = "",
    run: RunName = "",
) -> None:
    """Refuse whatever a key has signed, from now on."""
    folder = _ring_folder(_keys(run), group)
    held = _valid(folder)
    if name not in held:
        raise NoSuchKey(
            f"There is no key {name}: nothing was revoked.",
            f"The keys are {', '.join(held) or 'none'}.",
        )
    revoke(folder, name)
    typer.echo(f"what {name} has signed is refused within a second")


def show(group: GroupName = "", run: RunName = "", as_json: AsJson = False) -> None:
    """List the keys of approvals or of a group, and which of them signs."""
    held = KeyRing.from_folder(_ring_folder(_keys(run), group)).keys()
    if as_json:
        print_json({"active": held.active, "valid": sorted(held.valid)})
        return
    for name in sorted(held.valid):
        typer.echo(f"{name}{'  signs' if name == held.active else ''}")


def _keys(run: str) -> Path:
    store = RunStore(home())
    return store.folder(store.get(run).name) / "keys"


def _ring_folder(keys: Path, group: str) -> Path:
    if not group:
        return keys / SEAL_FOLDER
    if group == BY_HAND:
        raise NoGroup(
            "Orders by hand are signed with an operator's key.",
            "Create one with `tapeline keys create NAME`, without --group.",
        )
    return group_folder(keys, group)


def _valid(folder: Path) -> list[str]:
    """The keys that may be in use, also where the ring itself is damaged."""
    return sorted(path.stem for path in folder.glob("*.key")) if folder.is_dir() else []


def _created(folder: Path, name: str) -> Path:
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return create_secret(folder, name)


def _say_secret(group: str, name: str, path: Path) -> None:
    typer.echo(f"group {group} signs with {name}: hand {path} over, readable by the group alone")
