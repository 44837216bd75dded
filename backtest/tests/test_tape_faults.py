"""Whatever happens while a tape is written: an error or a clean pull, never another answer."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from memory_log import MemoryLog
from tape_faults import NO_ROOM, STEPS, pull_up_to, pull_without_room
from tape_samples import TICKS, a_log

from tapeline.backtest.tape import store
from tapeline.backtest.tape.store import Tape, TapeForeign
from tapeline.runtime.log import Raw


@pytest.fixture(autouse=True)
def _small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "CHUNK", 10)


def everything(tape: Tape) -> list[Raw]:
    return [raw for raws in tape.chunks(TICKS) for raw in raws]


def ended(target: Callable[..., None], *arguments: Any) -> int | None:
    """The exit code of a process of its own."""
    process = multiprocessing.get_context("spawn").Process(target=target, args=arguments)
    process.start()
    process.join()
    return process.exitcode


@pytest.mark.parametrize("step", STEPS)
def test_a_process_that_is_killed_at_any_step_leaves_a_tape_that_goes_on(
    tmp_path: Path, step: str
) -> None:
    assert ended(pull_up_to, tmp_path, step) == -signal.SIGKILL
    tape, log = Tape(tmp_path), a_log()
    left = everything(tape)
    expected = {"topic noted": 0, "moved": 20, "ends noted": 99}.get(step, 10)
    assert left == [raw for raw in log.records[TICKS] if raw.offset < expected]
    assert not tape.is_closed()
    tape.pull(log, ["ticks"])
    tape.close()
    assert tape.is_closed()
    assert everything(tape) == log.records[TICKS]
    assert not list((tmp_path / "ticks-0").glob(f"*{store.PART}"))


def test_a_disk_that_is_full_is_told_and_what_is_there_is_kept(tmp_path: Path) -> None:
    assert ended(pull_without_room, tmp_path) == NO_ROOM
    tape, log = Tape(tmp_path), a_log()
    assert everything(tape) == [raw for raw in log.records[TICKS] if raw.offset < 10]
    assert not tape.is_closed()
    tape.pull(log, ["ticks"])
    assert everything(tape) == log.records[TICKS]
    assert not list((tmp_path / "ticks-0").glob(f"*{store.PART}"))


@pytest.mark.parametrize("count", [3, 25, 60], ids=["shorter", "as long", "longer"])
def test_a_topic_that_was_made_again_is_not_put_behind_the_one_that_is_gone(
    tmp_path: Path, count: int
) -> None:
    log, tape = a_log(), Tape(tmp_path)
    tape.pull(log, ["ticks"])
    before = everything(tape)
    other = a_log(count)
    other.ids["ticks"] = "second"
    with pytest.raises(TapeForeign, match="The topic ticks was deleted and made again"):
        tape.pull(other, ["ticks"])
    assert everything(tape) == before


def test_a_topic_that_is_made_again_within_a_pull_is_found_by_it_and_by_the_next(
    tmp_path: Path,
) -> None:
    log, tape = a_log(), Tape(tmp_path)

    def made_again(_done: int, _all: int) -> None:
        log.ids["ticks"] = "second"

    for _ in range(2):
        with pytest.raises(TapeForeign, match="The topic ticks was deleted and made again"):
            tape.pull(log, ["ticks"], made_again)


def test_a_topic_that_is_shorter_than_its_tape_is_refused(tmp_path: Path) -> None:
    """As after a broker that lost its disk, or for a tape that does not tell its topic."""
    log, tape = a_log(), Tape(tmp_path)
    tape.pull(log, ["ticks"])
    end = tape.end(TICKS)
    (tmp_path / "ticks-0" / store.TOPIC).unlink()
    del log.records[TICKS][-1:]
    with pytest.raises(TapeForeign, match=rf"ticks-0 ends at offset \d+, and the tape .* {end}"):
        tape.pull(log, ["ticks"])


def test_a_tape_of_before_takes_its_topic_for_the_one_that_is_there(tmp_path: Path) -> None:
    log, tape = MemoryLog({TICKS: []}), Tape(tmp_path)
    log.add(TICKS, b"one")
    tape.pull(log, ["ticks"])
    noted = tmp_path / "ticks-0" / store.TOPIC
    noted.unlink()
    log.add(TICKS, b"two")
    tape.pull(log, ["ticks"])
    assert [raw.value for raw in everything(tape)] == [b"one", b"two"]
    assert noted.read_text() == "first"
