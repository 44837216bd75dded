"""The kill switch is pulled while orders leave through a socket: when does the last one leave?

Real files, real threads, a real socket, the sender's real last check; Kafka has no part in it, so
the figures are those with Kafka or the database away as well. Faults are put into the very path of
the switch. `TAPELINE_TEST_TRIPS` asks for more trips, `TAPELINE_TEST_TRIPS_SEED` repeats some.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from execution_samples import T0, approved, order, outside, updates
from test_last_check import check, world

from tapeline.contracts.orders import VenueCommand
from tapeline.runtime import trip_watch
from tapeline.runtime.trip_watch import TripWatch
from tapeline.runtime.trips import Latch, signal_trip, write_halt_file

TRIPS = int(os.environ.get("TAPELINE_TEST_TRIPS", "24"))
SEED = int(os.environ.get("TAPELINE_TEST_TRIPS_SEED", "0")) or random.SystemRandom().randrange(
    10**6
)
SENDERS = 2
PAUSE_S = 0.001
QUIET_S = 0.15
LIMIT_S = 120.0
"""generous: what is promised is printed, not asserted"""
WAYS = ("empty file", "file", "signal")
FAULTS = ("", "disk full", "bug in the latch", "bug in the reading", "folder away", "shutdown")


class Sink:
    """A venue that only notes when something came."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = self._server.getsockname()
        self.times: list[float] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._read, args=(line,), daemon=True).start()

    def _read(self, line: socket.socket) -> None:
        with line:
            while line.recv(64):
                self.times.append(time.monotonic())

    def close(self) -> None:
        self._server.close()


def command() -> VenueCommand:
    found = updates(outside().step(approved(order())))[0].command
    assert found is not None
    return found


class Senders:
    """Threads that send whatever the last check lets through."""

    def __init__(self, watch: TripWatch, address: Any) -> None:
        self.stopping = threading.Event()
        self._check = check(trips=watch.open_trips, blind_because=watch.blind_because)
        self._command, self._world, self._address = command(), world(), address
        self._threads = [threading.Thread(target=self._send) for _ in range(SENDERS)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        with socket.create_connection(self._address) as line:
            while not self.stopping.is_set():
                if self._check.of_moment(self._world, self._command, (0, T0)) is None:
                    line.sendall(b"order\n")
                time.sleep(PAUSE_S)

    def stop(self) -> None:
        self.stopping.set()
        for thread in self._threads:
            thread.join()


def raising(error: BaseException, times: int) -> Callable[..., Any]:
    """Fails so many times with an error that says so."""
    left = [times]

    def fail(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if left[0] > 0:
                left[0] -= 1
                raise error
            return real(*arguments, **named)

        return call

    return fail


@contextlib.contextmanager
def fault(name: str, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Something is wrong in the path of the switch while the block lasts."""
    with patch.context() as inner:
        match name:
            case "disk full":
                inner.setattr(Latch, "keep", raising(OSError(28, "full"), 3)(Latch.keep))
            case "bug in the latch":
                inner.setattr(Latch, "keep", raising(RuntimeError("a bug"), 2)(Latch.keep))
            case "bug in the reading":
                reading = raising(RuntimeError("a bug"), 2)(trip_watch.trip_of_file)
                inner.setattr(trip_watch, "trip_of_file", reading)
            case "folder away":
                looking = raising(PermissionError(13, "denied"), 2)(trip_watch.halt_files)
                inner.setattr(trip_watch, "halt_files", looking)
        yield


def pulled(watch: TripWatch, folder: Path, way: str) -> float:
    """Pulls the switch; when that was."""
    at_s = time.monotonic()
    if way == "signal":
        watch.pull(signal_trip(10, time.time_ns(), "test"))
    elif way == "file":
        write_halt_file(folder, "halt-1", {"scope": "account:a1", "level": "flatten"})
    else:
        (folder / "halt").touch()
    return at_s


def one_trip(folder: Path, sink: Sink, chance: random.Random, patch: pytest.MonkeyPatch) -> float:
    """Seconds from a trip to the last send; negative where nothing was sent any more."""
    way, wrong = chance.choice(WAYS), chance.choice(FAULTS)
    watch = TripWatch(folder, "execution-0", ["execution/0"])
    watch.start()
    sink.times.clear()
    senders = Senders(watch, sink.address)
    try:
        time.sleep(chance.uniform(0.02, 0.06))
        while not sink.times:
            time.sleep(0.001)
        with fault(wrong, patch):
            at_s = pulled(watch, folder, way)
            if wrong == "shutdown":
                senders.stop()
            until_s = at_s + LIMIT_S
            while not (watch.open_trips() and Latch(folder, "execution-0").load()):
                assert time.monotonic() < until_s, f"{way}, {wrong}: not latched"
                time.sleep(0.005)
            time.sleep(QUIET_S)
            last_s = max(sink.times)
    finally:
        senders.stop()
        watch.stop()
    # A restart comes up with it.
    again = TripWatch(folder, "execution-0", ["execution/0"])
    for trip in Latch(folder, "execution-0").load():
        again.pull(trip)
    moment = check(trips=again.open_trips).of_moment(world(), command(), (0, T0))
    assert moment is not None
    assert moment.code == "EXECUTION_TRADING_HALTED"
    return last_s - at_s


def test_after_a_trip_nothing_leaves_and_a_restart_stays_halted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    print(f"seed {SEED}, {TRIPS} trips")
    chance, sink = random.Random(SEED), Sink()
    found = []
    for number in range(TRIPS):
        folder = tmp_path / str(number)
        folder.mkdir()
        found.append(one_trip(folder, sink, chance, monkeypatch))
    sink.close()
    found.sort()
    shown = {name: found[min(int(share * len(found)), len(found) - 1)] for name, share in SHARES}
    print("trip to last send, ms: " + ", ".join(f"{k} {1000 * v:.0f}" for k, v in shown.items()))
    assert found[-1] < LIMIT_S


SHARES = (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
