"""Drives copiers through kills, zombies and broker kills while they are fed.

Each shard has a thread that strikes its copier blow by blow: a part of the shard's decisions is
sent, the blow falls in the middle of it, a successor is started. Everything is drawn from one seed.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import copier
import psutil
from confluent_kafka import Producer

from proving.beside import ReaderBeside
from tapeline.cli.stack.kafka import EmbeddedKafka
from tapeline.contracts import topics
from tapeline.runtime import clock, exits
from tapeline.runtime.codec import encode
from tapeline.runtime.failpoints import ENVIRONMENT
from tapeline.runtime.kafka import confluent_config
from tapeline.runtime.settings import ServiceSettings

LIMIT_S = 300.0
QUIET_S = 15.0
BURST = 10
BURST_PAUSE_S = 0.01
NTH_MAX = 12
STEADY_SHARE = 0.75
"""of the copiers are fed when they are up, so that they are struck in a stream of transactions; the
others find a backlog"""
UP_EVENT = '"event": "recovered"'
FENCED_EVENT = '"event": "fenced"'
AT_START = ("after_fence", "after_recovery")


@dataclass(frozen=True, kw_only=True)
class CopierBlow:
    """What is done to one copier."""

    is_zombie: bool
    """SIGSTOP, a successor, SIGCONT; else SIGKILL"""
    failpoint: str = ""
    """where it strikes; empty: at a random moment"""
    nth: int = 1

    @property
    def variables(self) -> dict[str, str]:
        """Environment of the copier that it is meant for."""
        kind = "stop" if self.is_zombie else "kill"
        return {ENVIRONMENT: f"{self.failpoint}:{kind}:{self.nth}"} if self.failpoint else {}


def copier_blows(
    choice: random.Random, kills: int, zombies: int, failpoints: Sequence[str]
) -> list[CopierBlow]:
    """Half of each at random moments, half at failpoints; the first at a random moment."""
    drawn = []
    for number in range(kills + zombies):
        name = choice.choice(failpoints) if number % 2 and failpoints else ""
        nth = 1 if name in AT_START else choice.randint(2, NTH_MAX)
        drawn.append(CopierBlow(is_zombie=number >= kills, failpoint=name, nth=nth))
    choice.shuffle(drawn)
    # The first copier was started without a failpoint.
    first = next(index for index, blow in enumerate(drawn) if not blow.failpoint)
    drawn.insert(0, drawn.pop(first))
    return drawn


@dataclass(frozen=True, slots=True)
class Strike:
    """When a copier was struck, and how much it had been asked until then."""

    shard: int
    asked: int
    at_ms: int


@dataclass
class Tally:
    """What happened to all copiers."""

    kills: int = 0
    zombies: int = 0
    strikes: list[Strike] = field(default_factory=list)
    broker_kills: int = 0
    zombie_codes: Counter[int] = field(default_factory=Counter)
    unfenced: int = 0
    """zombies that went on for ever"""
    unplanned: Counter[int] = field(default_factory=Counter)
    """exit codes of copiers that nobody struck, such as when the broker was away"""

    def __str__(self) -> str:
        ended = dict(sorted(self.zombie_codes.items()))
        return (
            f"{self.kills} kills, {self.zombies} zombies (ended with {ended}, {self.unfenced} "
            f"never), {self.broker_kills} broker kills, "
            f"ended otherwise {dict(sorted((+self.unplanned).items()))}"
        )


@dataclass(kw_only=True)
class Ring:
    """What the threads of one storm share."""

    settings: ServiceSettings
    folder: Path
    script: Path
    beside: ReaderBeside
    variables: dict[str, str] = field(default_factory=dict)
    pause_s: float = BURST_PAUSE_S
    """between two bursts of decisions"""
    goes_on: Callable[[], bool] = lambda: False
    """asked when all is answered: whether more is to be asked, little by little"""
    zombies_end_s: float = LIMIT_S
    """how long to wait for zombies to end by themselves"""
    tally: Tally = field(default_factory=Tally)
    failed: threading.Event = field(default_factory=threading.Event)
    calm: threading.Lock = field(default_factory=threading.Lock)
    """held while the broker is away, and while a zombie finds out what it is"""
    started: int = 0

    def __post_init__(self) -> None:
        self.producer = Producer(
            {**confluent_config(self.settings), "enable.idempotence": True, "linger.ms": 1}
        )

    def start(self, shard: int, blow: CopierBlow | None) -> tuple[subprocess.Popen[bytes], Path]:
        """A copier, and its log."""
        self.started += 1
        environment = {
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": self.settings.kafka_bootstrap_servers,
            "TAPELINE_TOPIC_PREFIX": self.settings.topic_prefix,
            "TAPELINE_RUN_ID": self.settings.run_id,
            "TAPELINE_SHARDS": str(shard),
            **self.variables,
            **(blow.variables if blow is not None else {}),
        }
        path = self.folder / f"copier-{shard}-{self.started}.log"
        with path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, str(self.script)], env=environment, stdout=log, stderr=log
            )
        return process, path


class Sparring(threading.Thread):
    """One shard: feeds it, strikes its copier, starts the next."""

    def __init__(
        self, ring: Ring, shard: int, blows: Sequence[CopierBlow], total: int, seed: int
    ) -> None:
        super().__init__(name=f"sparring-{shard}", daemon=True)
        self.failure: BaseException | None = None
        self._ring = ring
        self._shard = shard
        self._blows = list(blows)
        self.total = total
        self.sent = 0
        self._choice = random.Random(seed + shard)
        self._blow: CopierBlow | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._log = Path()

    def run(self) -> None:
        """The thread."""
        try:
            self._fight()
        except BaseException as error:  # noqa: BLE001 - told by the storm
            self.failure = error
            self._ring.failed.set()
        finally:
            self._clear()

    def _fight(self) -> None:
        share = self.total // (len(self._blows) + 1)
        self._start(None)
        self._until(self._is_up, "it does not come up")
        for number, blow in enumerate(self._blows):
            following = self._blows[number + 1] if number + 1 < len(self._blows) else None
            self._blow = blow
            before = self._choice.randrange(share)
            if blow.failpoint not in AT_START and self._choice.random() < STEADY_SHARE:
                self._until(self._is_up, "it does not come up")
            self._send(before)
            self._strike(blow, following, share - before)
        self._send(self.total - self.sent)
        self._await_answered()
        while self._ring.goes_on():
            self._send(BURST)
            self._await_answered()
        self._process_now().terminate()
        code = self._process_now().wait(LIMIT_S)
        self._ring.tally.unplanned[code] += code not in (exits.OK, -signal.SIGTERM)
        self._process = None

    def _process_now(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def _start(self, blow: CopierBlow | None) -> None:
        self._process, self._log = self._ring.start(self._shard, blow)

    def _send(self, count: int) -> None:
        """The next decisions, in small bursts."""
        for index in range(self.sent, self.sent + count):
            self._ring.producer.produce(
                self._ring.settings.topic_prefix + topics.DECISIONS,
                encode(copier.decision(index)),
                b"k",
                self._shard,
                headers=[("event_id", f"{self._shard}/{index}".encode()), ("producer", b"group/g")],
            )
            if index % BURST == 0:
                self._ring.producer.poll(0)
                time.sleep(self._ring.pause_s)
        self.sent += count

    def _strike(self, blow: CopierBlow, following: CopierBlow | None, rest: int) -> None:
        if blow.failpoint:
            # What is still to be sent keeps it busy until it comes to its failpoint.
            self._send(rest)
            rest = 0
            self._until(self._has_struck, f"{blow} did not strike")
        elif blow.is_zombie:
            # One that has not fenced its predecessor yet would fence its successor, and rightly.
            self._until(self._is_up, "it does not come up")
            os.kill(self._process_now().pid, signal.SIGSTOP)
        else:
            self._keep_up()
            self._process_now().kill()
        strike = Strike(self._shard, self.sent, clock.wall_ns() // 1_000_000)
        self._ring.tally.strikes.append(strike)
        if blow.is_zombie:
            self._bury(following, rest)
            return
        self._ring.tally.kills += 1
        self._process_now().wait()
        self._start(following)
        self._send(rest)

    def _bury(self, following: CopierBlow | None, rest: int) -> None:
        """A successor takes over and answers everything; only then the zombie goes on."""
        self._ring.tally.zombies += 1
        zombie = (self._process_now(), self._log)
        # Should the successor be struck at its own failpoint, another follows it.
        self._start(None if following is None or following.failpoint else following)
        self._send(rest)
        self._await_answered()
        with self._ring.calm:
            self._awake(*zombie)
        if following is not None and following.failpoint:
            self._process_now().terminate()
            self._process_now().wait(LIMIT_S)
            self._start(following)

    def _is_up(self) -> bool:
        return bool(self._ring.variables) or UP_EVENT in self._log.read_text()

    def _has_struck(self) -> bool:
        process = self._process_now()
        if process.poll() is not None:
            return process.returncode == -signal.SIGKILL
        return psutil.Process(process.pid).status() == psutil.STATUS_STOPPED

    def _keep_up(self) -> None:
        """A copier that fell over by itself is started again."""
        process = self._process_now()
        if process.poll() is not None and not self._has_struck():
            self._ring.tally.unplanned[process.returncode] += 1
            blow = self._blow if self._blow is not None and self._blow.failpoint else None
            self._start(blow)

    def _until(self, holds: Callable[[], bool], problem: str) -> None:
        deadline_s = clock.monotonic_s() + LIMIT_S
        while not holds():
            assert clock.monotonic_s() < deadline_s, f"shard {self._shard}: {problem}; {self._log}"
            assert not self._ring.failed.is_set(), "the other shard failed"
            self._ring.producer.poll(0)
            self._keep_up()
            time.sleep(0.01)

    def _await_answered(self) -> None:
        self._blow = None
        self._until(
            self._is_answered,
            f"{self._ring.beside.count(self._shard)} of {self.sent} answered",
        )

    def _is_answered(self) -> bool:
        if self._ring.beside.count(self._shard) >= self.sent:
            return True
        # What a naive one has lost does not come any more.
        quiet_s = clock.monotonic_s() - self._ring.beside.grew_s
        return bool(self._ring.variables) and quiet_s > QUIET_S

    def _awake(self, zombie: subprocess.Popen[bytes], log: Path) -> None:
        """The zombie goes on, and ends. One that knows that it is fenced is told to go: it would
        wait for its successor's journal to be silent."""
        zombie.send_signal(signal.SIGCONT)
        deadline_s = clock.monotonic_s() + self._ring.zombies_end_s
        while zombie.poll() is None and clock.monotonic_s() < deadline_s:
            if FENCED_EVENT in log.read_text():
                zombie.terminate()
            time.sleep(0.05)
        if zombie.poll() is None:
            # A naive one never learns that it is one.
            self._ring.tally.unfenced += 1
            zombie.kill()
            zombie.wait()
            return
        self._ring.tally.zombie_codes[zombie.returncode] += 1

    def _clear(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def broker_kills(
    kafka: EmbeddedKafka, ring: Ring, shards: Sequence[Sparring], count: int, seed: int
) -> None:
    """SIGKILLs the broker at even stages of the run; it is back a moment later."""
    choice = random.Random(seed)
    total = sum(shard.total for shard in shards)
    for number in range(count):
        due = total * (number + choice.uniform(0.2, 0.8)) / count
        while sum(map(ring.beside.count, range(len(shards)))) < due:
            if ring.failed.is_set() or not any(shard.is_alive() for shard in shards):
                return
            time.sleep(0.02)
        with ring.calm:
            kafka.kill()
            time.sleep(choice.uniform(0.1, 2.0))
            kafka.start()
        ring.tally.broker_kills += 1
