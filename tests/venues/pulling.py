"""Ways to pull the kill switch of a real run, and what may go wrong while it is pulled."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer
from desk import ACCOUNT, GROUP, INSTRUMENT, VENUE, Desk
from proving.faults import Fault

from tapeline.cli.commands import halting
from tapeline.cli.runs import SWITCH_FOLDER
from tapeline.contracts.control import CancelAll, Flatten, SetTradingState
from tapeline.contracts.risk import TradingState
from tapeline.runtime.trips import parsed_scope, write_halt_file

COMMAND, PROGRAM, RECORD = "command", "program", "record"
FILE, EMPTY, SIGNAL = "file", "empty file", "signal"
WAYS = {COMMAND: 24, PROGRAM: 1, RECORD: 25, FILE: 20, EMPTY: 10, SIGNAL: 20}
"""with how often each is drawn; the program is the command with the start of its interpreter"""
BY_ITSELF = (EMPTY, SIGNAL)
"""these say neither scope nor level"""
STOP_ENTRIES = "stop-entries"
LEVELS = (STOP_ENTRIES, "cancel-all", "flatten")
SCOPES = (
    "all",
    f"account:{ACCOUNT}",
    f"group:{GROUP}",
    f"strategy:{GROUP}",
    f"instrument:{INSTRUMENT}",
    f"venue:{VENUE}",
)
UNKEPT, UNREADABLE, FOLDER_AWAY = "latch not kept", "file unreadable", "folder away"
SHUTDOWN, BROKER_AWAY, DATABASE_AWAY = "shutdown", "broker silent", "database silent"
WRONG = {
    "": 60,
    UNKEPT: 6,
    UNREADABLE: 6,
    FOLDER_AWAY: 5,
    SHUTDOWN: 6,
    BROKER_AWAY: 9,
    DATABASE_AWAY: 8,
}
LATCH = "latched-execution-0.json"
AWAY_S = 0.5
EXPIRY_NS = 60_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """One pull of the switch."""

    number: int
    way: str
    scope: str
    level: str
    wrong: str

    @property
    def stops_entries_alone(self) -> bool:
        """What reduces goes on."""
        return self.level == STOP_ENTRIES


def drawn(count: int, chance: random.Random) -> Iterator[Pull]:
    """So many pulls."""
    for number in range(count):
        [way] = chance.choices(list(WAYS), list(WAYS.values()))
        [wrong] = chance.choices(list(WRONG), list(WRONG.values()))
        scope, level = chance.choice(SCOPES), chance.choice(LEVELS)
        if wrong == UNREADABLE:
            way = EMPTY
        if wrong == FOLDER_AWAY and way not in (RECORD, SIGNAL):
            way = SIGNAL
        if wrong == BROKER_AWAY and way == RECORD:
            way = FILE
        if way in BY_ITSELF:
            scope, level = "all", "cancel-all"
        yield Pull(number=number, way=way, scope=scope, level=level, wrong=wrong)


@dataclass(frozen=True)
class Switch:
    """Everything by which the switch of a run is pulled, and released."""

    run: Desk
    servers: Mapping[str, Fault]
    programs: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """Where halt files are put."""
        return self.run.folder / SWITCH_FOLDER

    def pull(self, asked: Pull) -> int:
        """When it was pulled, nanoseconds UTC; returns at once."""
        began_ns = time.time_ns()
        match asked.way:
            case "command":
                threading.Thread(target=self._command, args=(asked,), daemon=True).start()
            case "program":
                command = [sys.executable, "-m", "tapeline.cli", *self._words(asked)]
                silent = subprocess.DEVNULL
                self.programs.append(subprocess.Popen(command, stdout=silent, stderr=silent))
            case "record":
                self._record(asked)
            case "file":
                said = {"scope": asked.scope, "level": asked.level}
                write_halt_file(self.folder, f"halt-{asked.number}", said)
            case "empty file":
                self._empty(asked)
            case _:
                self.run.processes[-1].send_signal(signal.SIGUSR1)
        return began_ns

    def _words(self, asked: Pull) -> list[str]:
        said = ("--scope", asked.scope, "--level", asked.level)
        return ["halt", "--reason", "a test", "--run", self.run.run_id, *said]

    def _command(self, asked: Pull) -> None:
        # It says so where Kafka does not answer; the file has told the process by then.
        with suppress(typer.Exit):
            halting.halt(reason="a test", scope=asked.scope, level=asked.level, run=self.run.run_id)

    def _record(self, asked: Pull) -> None:
        kind, name = parsed_scope(asked.scope)
        values: dict[str, Any] = {"scope": kind, "scope_id": name}
        state = TradingState.REDUCING if asked.stops_entries_alone else TradingState.HALTED
        self.run.control(SetTradingState, f"{asked.scope}/state", state=state, **values)
        once = {
            "command_id": f"{self.run.run_id}/{asked.number}",
            "expires_ns": time.time_ns() + EXPIRY_NS,
        }
        if asked.level == "cancel-all":
            self.run.control(
                CancelAll, f"{asked.scope}/cancel", spares_protective=True, **once, **values
            )
        elif asked.level == "flatten":
            self.run.control(Flatten, f"{asked.scope}/flatten", **once, **values)

    def _empty(self, asked: Pull) -> None:
        path = self.folder / f"halt-{asked.number}"
        if asked.wrong != UNREADABLE:
            path.touch()
            return
        match asked.number % 3:
            case 0:
                path.mkdir()
            case 1:
                path.symlink_to("nowhere")
            case _:
                (self.folder / "part").write_bytes(b'{"scope": "account:\xff')
                (self.folder / "part").replace(path)

    def resume(self, asked: Pull) -> None:
        """By the command, in the scope that was halted."""
        for program in self.programs:
            program.wait(60)
        halting.resume(reason="a test is over", scope=asked.scope, run=self.run.run_id)

    @contextmanager
    def gone_wrong(self, asked: Pull) -> Iterator[None]:
        """Around a pull: what is wrong meanwhile; all is well again at the end."""
        match asked.wrong:
            case "latch not kept":
                obstacle = self.folder / f"{LATCH}.part"
                obstacle.mkdir()
                yield
                time.sleep(AWAY_S)
                obstacle.rmdir()
            case "folder away":
                aside = self.folder.with_name("aside")
                self.folder.rename(aside)
                yield
                time.sleep(AWAY_S)
                aside.rename(self.folder)
            case "broker silent" | "database silent":
                server = self.servers[asked.wrong]
                server.take()
                yield
                time.sleep(AWAY_S)
                server.give()
            case "shutdown":
                yield
                time.sleep((asked.number % 4) / 100)
                self.run.processes[-1].terminate()
                self.run.processes[-1].wait(60)
            case _:
                yield


def ways_of(pulls: list[tuple[Pull, float]]) -> dict[str, list[float]]:
    """Seconds from trip to last send, by what was asked and what was wrong, and altogether."""
    found: dict[str, list[float]] = {}
    for asked, took_s in pulls:
        away = asked.wrong in (BROKER_AWAY, DATABASE_AWAY)
        names = [asked.way if not away else "", asked.wrong]
        if asked.way != PROGRAM:
            names.append("all with a server silent" if away else "all with both there")
        for name in filter(None, names):
            found.setdefault(name, []).append(took_s)
    return {name: sorted(found[name]) for name in sorted(found)}
