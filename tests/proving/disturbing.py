"""Disturbs a run on purpose: SIGKILL at random points, zombies, a broker that dies.

Everything is drawn from one seed. What has no effect is not counted: a blow has struck when the
process has ended by it.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import psutil

from proving.outage import is_ready
from proving.playing import Progress
from tapeline.cli.plan import Part
from tapeline.cli.session import Session
from tapeline.cli.stack.child import Child
from tapeline.cli.stack.kafka import EmbeddedKafka
from tapeline.cli.stack.supervisor import Exit
from tapeline.runtime import clock, exits
from tapeline.runtime.failpoints import ENVIRONMENT, NAMES

FENCED_EVENT = '"event": "fenced"'
AT_START = ("after_fence", "after_recovery")
NTH_MAX = 8
SLICES_BETWEEN = (1, 3)
RESTART_S = 0.5
MOMENT_S = 0.25
"""an instant is that long, or shorter, after the slice it was drawn for"""
TAKEN_OVER_SLICES = 2
"""a zombie sleeps until its successor has done that many"""


class Kind(StrEnum):
    """What is done to a process."""

    INSTANT = "INSTANT"
    """SIGKILL at a random moment"""
    FAILPOINT = "FAILPOINT"
    """SIGKILL at a named step of a transaction or a start"""
    ZOMBIE = "ZOMBIE"
    """SIGSTOP at a random moment, a successor takes over, SIGCONT"""
    SLEEPER = "SLEEPER"
    """the same at a named step of a transaction or a start"""


@dataclass(frozen=True, kw_only=True)
class Blow:
    """One disturbance of one service."""

    kind: Kind
    failpoint: str = ""
    nth: int = 1

    @property
    def variables(self) -> dict[str, str]:
        """Environment of the process that it is meant for."""
        action = "stop" if self.kind is Kind.SLEEPER else "kill"
        return {ENVIRONMENT: f"{self.failpoint}:{action}:{self.nth}"} if self.failpoint else {}

    def __str__(self) -> str:
        sleeps = "zombie at " if self.kind is Kind.SLEEPER else ""
        return f"{sleeps}{self.failpoint}:{self.nth}" if self.failpoint else self.kind.value


def money_blows(choice: random.Random, instants: int, names: Sequence[str]) -> list[Blow]:
    """Kills at random instants and at these failpoints and one zombie, in random order."""
    drawn = [
        Blow(
            kind=Kind.FAILPOINT,
            failpoint=name,
            nth=choice.randint(1, 2 if name in AT_START else NTH_MAX),
        )
        for name in names
    ]
    drawn += [Blow(kind=Kind.INSTANT)] * (instants - 1)
    drawn.append(Blow(kind=Kind.ZOMBIE))
    choice.shuffle(drawn)
    # The first process of a run knows nothing of failpoints.
    return [Blow(kind=Kind.INSTANT), *drawn]


def crash_points(choice: random.Random, kills: int, sleepers: int) -> list[Blow]:
    """Every failpoint so many times, in random order."""
    drawn = [
        Blow(
            kind=Kind.FAILPOINT if number < kills else Kind.SLEEPER,
            failpoint=name,
            nth=1 if name in AT_START else choice.randint(1, NTH_MAX // 2),
        )
        for name in NAMES
        for number in range(kills + sleepers)
    ]
    choice.shuffle(drawn)
    # The first process of a run knows nothing of failpoints.
    return [Blow(kind=Kind.INSTANT), *drawn]


class DisturbedSession(Session):
    """A session that leaves the victims' restarts to the test; the others start again for ever."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.left_alone: set[str] = set()
        """names of children that the test starts again by itself"""
        self.ended: dict[str, list[int]] = {}
        """exit codes by name, in order"""

    def _restart(self, exited: Exit) -> float | None:
        self.ended.setdefault(exited.name, []).append(exited.returncode)
        if exited.returncode == exits.USAGE:
            return super()._restart(exited)
        if exited.name in self.left_alone or exited.returncode == exits.OK:
            return None
        return RESTART_S

    def child(self, name: str) -> Child | None:
        """A child that runs."""
        found = [child for child in self.supervisor.children if child.name == name]
        return found[-1] if found else None


def is_stopped(pid: int) -> bool:
    """Whether a process has been stopped, by itself or by somebody."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.Error:
        return False


@dataclass
class Zombie:
    """A process that was stopped and whose place another has taken."""

    name: str
    pid: int
    until_slice: int
    """how far its successor must come before it goes on"""
    fenced_before: int = 0
    """fenced processes that the log told of when it was woken"""
    is_awake: bool = False
    is_told: bool = False


@dataclass
class Victim:
    """One service of the money path and what is done to it, blow by blow."""

    session: DisturbedSession
    service: str
    blows: list[Blow]
    choice: random.Random
    struck: list[Blow] = field(default_factory=list)
    """what ended a process, in order"""
    unplanned: list[int] = field(default_factory=list)
    """exit codes of processes that ended by something else, such as a broker that was away"""
    zombie_codes: list[int] = field(default_factory=list)
    _name: str = ""
    _due_slice: int = 0
    _due_s: float = 0.0
    _zombies: list[Zombie] = field(default_factory=list)
    """asleep or awake; they are woken one by one"""
    _number: int = 1

    def __post_init__(self) -> None:
        self._take_name(self.service)
        self._due_slice = self.choice.randint(*SLICES_BETWEEN)

    @property
    def is_done(self) -> bool:
        """All blows have struck, and the zombies are gone."""
        return not self.blows and not self._zombies

    def turn(self, progress: Progress) -> None:
        """One look: starts what has ended, strikes when it is time."""
        self._collect(progress)
        self._watch_zombies(progress)
        if not self.blows or self.blows[0].kind is Kind.FAILPOINT:
            return
        if self.blows[0].kind is Kind.SLEEPER:
            child = self.session.child(self._name)
            if child is not None and is_stopped(child.pid):
                self._leave_asleep(child.pid, progress)
            return
        if progress.slice < self._due_slice:
            return
        if not self._due_s:
            self._due_s = clock.monotonic_s() + self.choice.uniform(0, MOMENT_S)
        elif clock.monotonic_s() >= self._due_s:
            self._strike(progress)

    def _take_name(self, name: str) -> None:
        self._name = name
        self.session.left_alone.add(name)

    def _collect(self, progress: Progress) -> None:
        for code in self.session.ended.pop(self._name, []):
            if code == -signal.SIGKILL:
                self.struck.append(self.blows.pop(0))
            else:
                self.unplanned.append(code)
            self._start(progress)

    def _strike(self, progress: Progress) -> None:
        child = self.session.child(self._name)
        if child is None:
            return
        # One that fell asleep before it fenced anybody would wake up and fence its successor.
        if self.blows[0].kind is Kind.ZOMBIE and not is_ready(self.session, self._name):
            return
        self._due_s = 0.0
        if self.blows[0].kind is Kind.INSTANT:
            os.kill(child.pid, signal.SIGKILL)
            self._due_slice = progress.slice + 1_000_000  # until its end is seen
            return
        os.kill(child.pid, signal.SIGSTOP)
        self._leave_asleep(child.pid, progress)

    def _leave_asleep(self, pid: int, progress: Progress) -> None:
        """A process that is stopped becomes a zombie; another takes its place."""
        until_slice = progress.slice + TAKEN_OVER_SLICES
        self._zombies.append(Zombie(name=self._name, pid=pid, until_slice=until_slice))
        self.struck.append(self.blows.pop(0))
        self._number += 1
        self._take_name(f"{self.service}-{self._number}")
        self._start(progress)

    def _start(self, progress: Progress) -> None:
        self._due_slice = progress.slice + self.choice.randint(*SLICES_BETWEEN)
        self._due_s = 0.0
        part: Part = self.session.parts[self.service]
        variables = self.blows[0].variables if self.blows else {}
        changed = replace(part, name=self._name, environment={**part.environment, **variables})
        self.session.start_part(changed)
        self.session.parts[self.service] = part

    def _watch_zombies(self, progress: Progress) -> None:
        if not self._zombies:
            return
        zombie = self._zombies[0]
        codes = self.session.ended.pop(zombie.name, [])
        if codes:
            self.zombie_codes += codes
            self._zombies.pop(0)
        elif not zombie.is_awake and progress.slice >= zombie.until_slice:
            zombie.fenced_before = self._fenced_count()
            os.kill(zombie.pid, signal.SIGCONT)
            zombie.is_awake = True
        elif zombie.is_awake and not zombie.is_told and self._is_fenced(zombie):
            # It would wait for its successor's journal to be silent; there is no need to.
            os.kill(zombie.pid, signal.SIGTERM)
            zombie.is_told = True

    def _is_fenced(self, zombie: Zombie) -> bool:
        return self._fenced_count() > zombie.fenced_before

    def _fenced_count(self) -> int:
        log = self.session.folder / "logs" / f"{self.service}.log"
        return log.read_text().count(FENCED_EVENT) if log.exists() else 0


@dataclass
class BrokerKill:
    """SIGKILL for the broker, once; it comes back a moment later on the same port."""

    kafka: EmbeddedKafka
    at_slice: int
    away_s: float
    was: float = 0.0
    """how long it was away, seconds; 0: not killed yet"""

    @property
    def is_done(self) -> bool:
        """It was killed and is back."""
        return self.was > 0

    def turn(self, progress: Progress) -> None:
        """Kills it when its slice has come."""
        if self.is_done or progress.slice < self.at_slice:
            return
        started_s = clock.monotonic_s()
        self.kafka.kill()
        time.sleep(self.away_s)
        self.kafka.start()
        self.was = clock.monotonic_s() - started_s


@dataclass
class Sniper:
    """Kills one derived service after the other, each only when the run goes on again."""

    session: DisturbedSession
    names: list[str]
    """whom, in this order"""
    choice: random.Random
    killed: list[str] = field(default_factory=list)
    _due_slice: int = 2
    _due_s: float = 0.0

    @property
    def is_done(self) -> bool:
        """Everybody was hit."""
        return not self.names

    def turn(self, progress: Progress) -> None:
        """One look: strikes when it is time."""
        if self.is_done or progress.slice < self._due_slice:
            return
        if not self._due_s:
            self._due_s = clock.monotonic_s() + self.choice.uniform(0, MOMENT_S)
            return
        child = self.session.child(self.names[0])
        if clock.monotonic_s() < self._due_s or child is None:
            return
        os.kill(child.pid, signal.SIGKILL)
        self.killed.append(self.names.pop(0))
        self._due_slice = progress.slice + self.choice.randint(*SLICES_BETWEEN)
        self._due_s = 0.0
