"""The kill switch by file and signal: what is read, kept and handed on; nothing opens it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tapeline.contracts.control import LocalTrip, ScopeKind, SwitchLevel
from tapeline.runtime import trip_watch
from tapeline.runtime.exits import FileUnusable
from tapeline.runtime.trip_watch import Overtaken, ShardTrips, TripWatch
from tapeline.runtime.trips import Latch, halt_files, signal_trip, trip_of_file, write_halt_file

NOW = 2_000_000_000_000_000_000
LIMIT_S = 120.0


class HandClock:
    """Moved by hand."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def wall_ns(self) -> int:
        return NOW + int(self.now_s * 1e9)

    def monotonic_s(self) -> float:
        return self.now_s


def watch_of(folder: Path, *shards: str, clock: Any = None) -> TripWatch:
    return TripWatch(folder, "risk-0", shards or ("risk/0",), clock or HandClock())


def shard_of(watch: TripWatch, shard: str = "risk/0", **parts: Any) -> ShardTrips[Any]:
    def nothing(*_: Any) -> bool:
        return False

    defaults = {"is_released": nothing, "is_send": nothing}
    return ShardTrips(watch, shard, **{**defaults, **parts})


def eventually(is_so: Callable[[], bool]) -> None:
    until_s = time.monotonic() + LIMIT_S
    while not is_so():
        assert time.monotonic() < until_s
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("content", "scope", "scope_id", "level"),
    [
        ("", ScopeKind.ALL, "", SwitchLevel.CANCEL_ALL),
        ("the feed is wrong", ScopeKind.ALL, "", SwitchLevel.CANCEL_ALL),
        ("{}", ScopeKind.ALL, "", SwitchLevel.CANCEL_ALL),
        ('{"scope": "account:A"}', ScopeKind.ACCOUNT, "A", SwitchLevel.CANCEL_ALL),
        ('{"scope": "group:g", "level": "flatten"}', ScopeKind.GROUP, "g", SwitchLevel.FLATTEN),
        ('{"level": "stop-entries"}', ScopeKind.ALL, "", SwitchLevel.STOP_ENTRIES),
        # What cannot be understood halts everything.
        ('{"scope": "planet:earth"}', ScopeKind.ALL, "", SwitchLevel.CANCEL_ALL),
        ('{"level": "softly"}', ScopeKind.ALL, "", SwitchLevel.CANCEL_ALL),
        ('{"level": ["flatten"]}', ScopeKind.ALL, "", SwitchLevel.CANCEL_ALL),
        ('{"scop": "account:A"}', ScopeKind.ALL, "", SwitchLevel.CANCEL_ALL),
        ('{"sequence": "x"}', ScopeKind.ALL, "", SwitchLevel.CANCEL_ALL),
        ('{"scope": ', ScopeKind.ALL, "", SwitchLevel.CANCEL_ALL),
        ("{[]}", ScopeKind.ALL, "", SwitchLevel.CANCEL_ALL),
        ("\xff\xfe\x00", ScopeKind.ALL, "", SwitchLevel.CANCEL_ALL),
    ],
)
def test_a_halt_file_always_halts(
    tmp_path: Path, content: str, scope: ScopeKind, scope_id: str, level: SwitchLevel
) -> None:
    path = tmp_path / "halt"
    path.write_bytes(content.encode("latin-1"))
    trip = trip_of_file(path, NOW)
    assert (trip.scope, trip.scope_id, trip.level) == (scope, scope_id, level)
    assert trip.reason
    assert trip == trip_of_file(path, NOW + 1)


def test_a_halt_file_that_is_a_folder_or_gone_halts_as_well(tmp_path: Path) -> None:
    (tmp_path / "halt").mkdir()
    for path in (tmp_path / "halt", tmp_path / "halt-gone"):
        assert trip_of_file(path, NOW).scope is ScopeKind.ALL


def test_a_file_from_the_future_does_not_keep_out_the_record_that_resumes(tmp_path: Path) -> None:
    path = tmp_path / "halt"
    path.touch()
    os.utime(path, ns=(NOW + 10**15, NOW + 10**15))
    assert trip_of_file(path, NOW).sequence == NOW


def test_only_whole_halt_files_count(tmp_path: Path) -> None:
    for name in (
        "halt",
        "HALT",
        "halt-1",
        "halted",
        "resume",
        "halt-2.part",
        "latched-risk-0.json",
    ):
        (tmp_path / name).touch()
    assert [path.name for path in halt_files(tmp_path)] == ["HALT", "halt", "halt-1"]


def test_touching_a_halt_file_again_is_another_trip(tmp_path: Path) -> None:
    path = tmp_path / "halt"
    path.touch()
    first = trip_of_file(path, NOW)
    os.utime(path, ns=(1, 1))
    assert trip_of_file(path, NOW).trip_id != first.trip_id


def test_a_trip_closes_at_once_is_kept_and_comes_back_after_a_restart(tmp_path: Path) -> None:
    watch = watch_of(tmp_path)
    (tmp_path / "halt").write_text("stop")
    watch.look()
    watch.look()
    (trip,) = watch.open_trips()
    # Deleting the file resumes nothing, neither now nor after a restart.
    (tmp_path / "halt").unlink()
    watch.look()
    assert watch.open_trips() == (trip,)
    again = watch_of(tmp_path)
    again.start()
    again.stop()
    assert again.open_trips() == (trip,)
    assert shard_of(again).take() == [trip]


def test_a_trip_is_over_when_every_shard_has_seen_it_superseded(tmp_path: Path) -> None:
    watch = watch_of(tmp_path, "risk/0", "risk/1")
    shards = [
        shard_of(watch, name, is_released=lambda state, _trip: state)
        for name in ("risk/0", "risk/1")
    ]
    (tmp_path / "halt").touch()
    watch.look()
    (trip,) = shards[0].take()
    assert shards[0].take() == []
    shards[0].committed(True)
    # The other one has not even taken it.
    shards[1].committed(True)
    assert watch.open_trips() == (trip,)
    assert shards[1].take() == [trip]
    shards[1].committed(False)
    assert watch.open_trips() == (trip,)
    shards[1].committed(True)
    assert watch.open_trips() == ()
    assert not Latch(tmp_path, "risk-0").path.exists()
    # The file still lies there: it is the same word, not a new one.
    watch.look()
    assert watch.open_trips() == ()
    os.utime(tmp_path / "halt", ns=(1, 1))
    watch.look()
    assert len(watch.open_trips()) == 1


def test_a_halt_file_that_a_resume_removes_while_it_is_looked_at_halts_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = watch_of(tmp_path)
    path = write_halt_file(tmp_path, "halt-1", {"scope": "venue:V"})
    watch.look()
    (trip,) = watch.open_trips()
    path.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(trip_watch, "halt_files", lambda _folder: [path, tmp_path / "halt-2"])
        watch.look()
    # What nobody has read before it was gone may have said anything.
    assert [one.scope for one in watch.open_trips()] == [trip.scope, ScopeKind.ALL]
    assert watch.open_trips()[1].origin == "file halt-2"


def test_what_was_decided_before_a_trip_does_not_leave_long_after_it(tmp_path: Path) -> None:
    clock = HandClock()
    watch = watch_of(tmp_path, clock=clock)
    shard = shard_of(watch, is_send=lambda record: record == "send")
    shard.refuse_overtaken(["send"])
    watch.pull(signal_trip(10, NOW, "test"))
    clock.now_s += trip_watch.IN_FLIGHT_S - 0.01
    shard.refuse_overtaken(["send"])
    clock.now_s += 0.02
    shard.refuse_overtaken(["no send"])
    with pytest.raises(Overtaken):
        shard.refuse_overtaken(["send"])
    shard.take()
    # Stepped behind the trip: the core has judged it.
    shard.refuse_overtaken(["send"])


@pytest.mark.parametrize("damage", ["", "{", "[1]", '[{"trip_id": "x"}]', "\xff"])
def test_a_damaged_latch_halts_everything(tmp_path: Path, damage: str) -> None:
    latch = Latch(tmp_path, "risk-0")
    latch.path.write_bytes(damage.encode("latin-1"))
    (trip,) = latch.load()
    assert (trip.scope, trip.level) == (ScopeKind.ALL, SwitchLevel.CANCEL_ALL)


def test_what_is_kept_is_what_was_pulled(tmp_path: Path) -> None:
    latch = Latch(tmp_path, "risk-0")
    assert latch.load() == []
    trips = [signal_trip(10, NOW + number, "test") for number in range(3)]
    latch.keep(trips)
    assert latch.load() == trips
    latch.keep([])
    assert latch.load() == []


def failing(error: BaseException) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_a_trip_that_cannot_be_kept_holds_and_is_kept_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    watch = watch_of(tmp_path)
    target: Any = os if name == "fsync" else Path
    with monkeypatch.context() as patch:
        patch.setattr(target, name, failing(OSError(28, "No space left on device")))
        watch.pull(signal_trip(10, NOW, "test"))
        watch.look()
        assert len(watch.open_trips()) == 1
        assert watch_of(tmp_path).open_trips() == ()
    watch.look()
    assert len(Latch(tmp_path, "risk-0").load()) == 1


def test_a_folder_that_cannot_be_watched_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileUnusable):
        watch_of(tmp_path / "file" / "switch").start()
    watch = watch_of(tmp_path / "switch")
    (tmp_path / "switch").mkdir()
    watch.look()
    assert watch.blind_because() == ""
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", failing(PermissionError(13, "Permission denied")))
        watch.look()
        assert "Permission denied" in watch.blind_because()
    watch.look()
    assert watch.blind_because() == ""


def test_the_watch_outlives_what_goes_wrong_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = TripWatch(tmp_path, "risk-0", ["risk/0"])
    watch.start()
    with monkeypatch.context() as patch:
        patch.setattr(trip_watch, "trip_of_file", failing(RuntimeError("a bug")))
        write_halt_file(tmp_path, "halt-1", {"level": "flatten"})
        eventually(lambda: "a bug" in watch.blind_because())
    eventually(lambda: len(watch.open_trips()) == 1)
    assert watch.open_trips()[0].level is SwitchLevel.FLATTEN
    eventually(lambda: watch.blind_because() == "")
    watch.stop()


SIGNALED = """
import sys, time
from pathlib import Path
from tapeline.runtime import trip_signal
trip_signal.block()
print("blocked", flush=True)
time.sleep(0.5)  # everything else is still being imported
from tapeline.runtime.trip_watch import TripWatch
from tapeline.runtime.trips import Latch
watch = TripWatch(Path(sys.argv[1]), "risk-0", ["risk/0"])
watch.start()
while not (watch.open_trips() and Latch(Path(sys.argv[1]), "risk-0").load()):
    time.sleep(0.01)
"""


def test_a_signal_that_comes_too_early_is_not_lost(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SIGNALED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "blocked\n"
        process.send_signal(signal.SIGUSR1)
        process.stdout.read()
        assert process.wait(LIMIT_S) == 0
    (item,) = json.loads((tmp_path / "latched-risk-0.json").read_text())
    trip = LocalTrip.from_avro(item)
    assert (trip.origin, trip.scope) == (f"signal {int(signal.SIGUSR1)}", ScopeKind.ALL)


ASLEEP = """
import sys
from pathlib import Path
from tapeline.runtime.trip_watch import TripWatch
watch = TripWatch(Path(sys.argv[1]), "risk-0", ["risk/0"])
watch.start()
print("watches", flush=True)
sys.stdin.readline()
print(len(watch.open_trips()), flush=True)
"""


def test_a_process_that_was_asleep_halts_nothing_by_itself(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ASLEEP, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "watches\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        process.send_signal(signal.SIGCONT)
        time.sleep(0.5)
        process.stdin.write("\n")
        process.stdin.close()
        assert process.stdout.read() == "0\n"
