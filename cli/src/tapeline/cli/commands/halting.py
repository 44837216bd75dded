"""The kill switch: halt and resume.

A halt goes two ways at once. A file in the run's switch folder stops the services of this machine
within a moment, whether or not Kafka is there. Signed control records stop every service of the run
and are kept. Both say the same under one number and are carried out once. A resume goes by a
signed record alone: that somebody can delete a file must not start trading.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from tapeline.cli.commands.options import RunName
from tapeline.cli.desk import desk
from tapeline.cli.home import home
from tapeline.cli.runs import OPERATOR, SWITCH_FOLDER, Run, RunStore
from tapeline.cli.scopes import in_force, known_names
from tapeline.cli.sending import Sender
from tapeline.cli.stack.errors import StackError
from tapeline.cli.stack.state import running_endpoints
from tapeline.contracts import topics
from tapeline.contracts.control import CancelAll, Flatten, ScopeKind, SetTradingState, SwitchLevel
from tapeline.contracts.risk import TradingState
from tapeline.runtime import clock
from tapeline.runtime.exits import USAGE, Failure
from tapeline.runtime.ids import derive_id
from tapeline.runtime.kafka import confluent_config
from tapeline.runtime.keys import Signer
from tapeline.runtime.settings import KafkaSettings
from tapeline.runtime.signing import sign
from tapeline.runtime.trips import (
    LEVELS,
    halt_files,
    parsed_scope,
    trip_of_file,
    write_halt_file,
)

KAFKA_S = 3.0
"""how long Kafka may take; the file has stopped this machine before"""
EXPIRY_NS = 60_000_000_000
STATES = {
    SwitchLevel.RESUME: TradingState.ACTIVE,
    SwitchLevel.STOP_ENTRIES: TradingState.REDUCING,
    SwitchLevel.CANCEL_ALL: TradingState.HALTED,
    SwitchLevel.FLATTEN: TradingState.HALTED,
}


class BadLevel(Failure):
    """A level that does not exist."""

    exit_code = USAGE


class NothingRuns(StackError):
    """There is nobody to act on a command."""


class NoReason(Failure):
    """What is signed says why."""

    exit_code = USAGE


class NobodyHalted(Failure):
    """A scope in which nothing of the run is: probably a slip of the pen."""

    exit_code = USAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One halt or resume, before it is signed."""

    run: Run
    level: SwitchLevel
    scope: str
    reason: str
    spares_protective: bool
    number: int
    """nanoseconds UTC: ascends over restarts of whoever signs"""

    @property
    def command_id(self) -> str:
        """One for the file and the records."""
        return derive_id(self.run.run_id, "cli", str(self.number), self.level.value)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (halt, resume):
        app.command(command.__name__)(command)


Scope = Annotated[
    str,
    typer.Option(
        "--scope",
        help="all, account:ID, group:ID, strategy:ID, instrument:ID or venue:ID.",
    ),
]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept with the record.")]


def halt(
    reason: Reason,
    scope: Scope = "all",
    level: Annotated[
        str, typer.Option("--level", help="stop-entries, cancel-all or flatten.")
    ] = "cancel-all",
    protective: Annotated[
        bool, typer.Option("--protective", help="Cancel protective orders as well.")
    ] = False,
    run: RunName = "",
) -> None:
    """Stop trading: latched until somebody resumes it. Works with Kafka away as well."""
    if level not in LEVELS:
        raise BadLevel(f"{level!r} is no level.", f"The levels are {', '.join(LEVELS)}.")
    parsed_scope(scope)
    store = RunStore(home())
    found = store.get(run)
    word = Word(
        run=found,
        level=LEVELS[level],
        scope=scope,
        reason=reason,
        spares_protective=not protective,
        number=clock.wall_ns(),
    )
    folder = store.folder(found.name)
    by_file = _pull(folder / SWITCH_FOLDER, word, level)
    typer.echo(f"file: {by_file}")
    try:
        _sign_and_send(word, folder)
    except Failure as failure:
        typer.echo(f"control topic: {failure.cause}")
        if not by_file.is_done:
            raise
        typer.echo(
            f"{STATES[word.level].value} on this machine alone: {scope} ({level}). Services "
            "elsewhere have not been told; say it again when Kafka is back."
        )
        raise typer.Exit(failure.exit_code) from None
    typer.echo("control topic: signed records taken")
    typer.echo(f"{STATES[word.level].value}: {scope} ({level})")
    _require_somebody(word)


def resume(
    reason: Reason,
    scope: Scope = "all",
    run: RunName = "",
) -> None:
    """Let trading go on in a scope that was halted, by hand or by a limit."""
    parsed_scope(scope)
    require_reason(reason)
    store = RunStore(home())
    found = store.get(run)
    word = Word(
        run=found,
        level=SwitchLevel.RESUME,
        scope=scope,
        reason=reason,
        spares_protective=True,
        number=clock.wall_ns(),
    )
    folder = store.folder(found.name)
    _sign_and_send(word, folder)
    for said in _cleared(folder / SWITCH_FOLDER, word):
        typer.echo(f"file {said}")
    typer.echo(f"ACTIVE: {scope}")
    with desk(found.name) as place:
        # Risk may not have answered yet: what was just resumed is not told as still in force.
        others = in_force(place.records, besides=parsed_scope(scope))
    for one in others:
        typer.echo(f"still {one}")


def require_reason(reason: str) -> None:
    """Raises NoReason: whoever reads the record later must find one."""
    if not reason.strip():
        raise NoReason("The reason is empty.", "Say why in --reason; it is signed and kept.")


def _require_somebody(word: Word) -> None:
    kind, name = parsed_scope(word.scope)
    with desk(word.run.name) as place:
        known = known_names(place.records, kind)
    if name not in known:
        listed = ", ".join(known) or "none"
        raise NobodyHalted(
            f"{word.run.name} has no {word.scope}: nothing that trades was halted.",
            f"There are {listed}. Or halt --scope all.",
        )


@dataclass(frozen=True, slots=True)
class ByFile:
    """What became of the halt file."""

    text: str
    is_done: bool

    def __str__(self) -> str:
        return self.text


def _pull(folder: Path, word: Word, level: str) -> ByFile:
    """Writes the halt file; a switch folder that is not there is no reason not to go on."""
    said = {
        "scope": word.scope,
        "level": level,
        "reason": word.reason,
        "spares_protective": word.spares_protective,
        "id": word.command_id,
        "sequence": word.number,
    }
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = write_halt_file(folder, f"halt-{word.number}", said)
    except OSError as error:
        return ByFile(f"{folder} cannot be written ({error.strerror})", False)
    return ByFile(f"{path} stops the services of this machine", True)


def _cleared(folder: Path, word: Word) -> list[str]:
    """Removes the halt files that a resume supersedes, those of its scope, made before it; says
    of each what became of it."""
    removed = []
    try:
        paths = halt_files(folder)
    except OSError:
        return []
    for path in paths:
        trip = trip_of_file(path, word.number)
        is_before = trip.sequence < word.number
        if (trip.scope, trip.scope_id) == parsed_scope(word.scope) and is_before:
            removed.append(_removed(path))
    return removed


def _removed(path: Path) -> str:
    """What became of a halt file; one that stays says nothing new, but is read at each start."""
    try:
        # Whatever is called like one has halted, a folder too.
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        return f"{path} stays ({error.strerror}); remove it by hand"
    return f"{path.name} removed"


def _sign_and_send(word: Word, folder: Path) -> None:
    endpoints = running_endpoints(home())
    if endpoints is None:
        raise NothingRuns(
            "Nothing runs: there is nobody to act on this.", "Start it with `tapeline up`."
        )
    signer = Signer.from_file(folder / "keys" / "private" / f"{OPERATOR}.key")
    settings = KafkaSettings(
        kafka_bootstrap_servers=endpoints.bootstrap_servers, topic_prefix=word.run.prefix
    )
    sender = Sender(confluent_config(settings), word.run, KAFKA_S)
    kind, name = parsed_scope(word.scope)
    for record in records_of(word, signer, kind, name):
        key = f"{kind.value}:{name}/{type(record).__name__}"
        sender.send(topics.CONTROL, 0, key, sign(record, signer), word.command_id)
    sender.finish()


def records_of(word: Word, signer: Signer, kind: ScopeKind, name: str) -> list[Any]:
    """The control records of a level; the state comes first."""
    common: dict[str, Any] = {
        "scope": kind,
        "scope_id": name,
        "sequence": word.number,
        "operator": signer.key_id,
        "reason": word.reason,
        "issued_ns": word.number,
        "run_id": word.run.run_id,
        "key_id": "",
        "signature": b"",
    }
    once: dict[str, Any] = {
        "command_id": word.command_id,
        "expires_ns": word.number + EXPIRY_NS,
    }
    records: list[Any] = [SetTradingState(state=STATES[word.level], **common)]
    if word.level is SwitchLevel.CANCEL_ALL:
        records.append(CancelAll(spares_protective=word.spares_protective, **once, **common))
    if word.level is SwitchLevel.FLATTEN:
        records.append(Flatten(**once, **common))
    return records
