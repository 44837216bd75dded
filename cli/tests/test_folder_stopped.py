"""Ctrl-C on a folder's backtest: at once, and the same command goes on with what is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
from engine_samples import MINUTE, START, TURNER

from tapeline.cli.commands import backtest_folder
from tapeline.cli.commands.backtest_file import Asked
from tapeline.cli.folder_players import NOTES, Notes

LIMIT_S = 120
HANGS = """
import os, time
from pathlib import Path

class Hanging(Turner):
    def step(self, state, reading):
        while reading.instrument_id == "X2.SIM" and Path(os.environ["HANGS_WHILE"]).exists():
            time.sleep(0.05)
        return super().step(state, reading)

del Turner
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "files"
    found.mkdir()
    for number in range(4):
        closes = [10.0 + (number + at) % 5 for at in range(60)]
        prices = dict.fromkeys(("open", "high", "low", "close"), closes)
        times = [START + at * MINUTE for at in range(60)]
        rows = pl.DataFrame({"ts_open_ns": times, **prices, "volume": [1.0] * 60})
        rows.write_parquet(found / f"X{number}.SIM.parquet")
    return found


def command(folder: Path, strategy: Path, home: Path, hangs: Path) -> subprocess.Popen[str]:
    words = ["backtest", "--bars", str(folder), "--strategy", str(strategy), "--workers", "2"]
    return subprocess.Popen(
        [sys.executable, "-m", "tapeline.cli", *words, "--json", "--accept-data-faults"],
        env={**os.environ, "TAPELINE_HOME": str(home), "HANGS_WHILE": str(hangs)},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> dict[str, object]:
    out, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, errors
    found: dict[str, object] = json.loads(out)
    return found


def living(session: int) -> list[str]:
    listed = ["ps", "-o", "stat=,args=", "-s", str(session)]
    lines = subprocess.run(listed, capture_output=True, text=True, check=False).stdout.splitlines()
    return [line for line in lines if not line.startswith("Z")]


def test_a_folder_is_stopped_within_a_file_and_goes_on(folder: Path, tmp_path: Path) -> None:
    strategy, hangs, home = tmp_path / "mine.py", tmp_path / "hangs", tmp_path / "home"
    strategy.write_text(TURNER + HANGS)
    hangs.touch()
    process = command(folder, strategy, home, hangs)
    while process.poll() is None and len(noted(home)) < 3:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=LIMIT_S)  # X2.SIM would never end
    assert process.returncode == 130, errors
    assert errors.strip().splitlines() == [
        "Stopped: done with 3 of 4 files, whose runs are kept.",
        "The same command goes on with the others.",
    ]
    while living(process.pid):  # what counts the processes' resources ends last
        time.sleep(0.05)
    kept = {path: path.stat().st_mtime_ns for path in descriptions(home)}
    assert len(kept) == 3
    hangs.unlink()
    again = ended(command(folder, strategy, home, hangs))
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert noted(home) == []
    whole = ended(command(folder, strategy, tmp_path / "other", hangs))
    assert digests(again) == digests(whole)
    # Done with all of it, the command plays all anew.
    ended(command(folder, strategy, home, hangs))
    assert all(path.stat().st_mtime_ns > at for path, at in kept.items())


def noted(home: Path) -> list[bytes]:
    return [
        line for path in home.glob(f"batches/*/{NOTES}") for line in path.read_bytes().splitlines()
    ]


def descriptions(home: Path) -> Sequence[Path]:
    return sorted(home.glob("backtests/*/description.json"))


def digests(facts: dict[str, object]) -> list[tuple[str, str]]:
    runs = facts["runs"]
    assert isinstance(runs, list)
    return [(run["instrument"], run["digest"]) for run in runs]


def test_a_note_counts_while_all_is_as_it_was(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    strategy = tmp_path / "mine.py"
    strategy.write_text(TURNER)
    run = tmp_path / "run"
    run.mkdir()
    job = jobs(folder, "mine.py")[0]
    notes = Notes(tmp_path / "batch")
    notes.add(job, {"refused": "no", "folder": str(run)})
    assert Notes(tmp_path / "batch").of(job) is None
    notes.add(job, {"refused": "", "folder": str(run)})
    assert Notes(tmp_path / "batch").of(job) is not None
    with (tmp_path / "batch" / NOTES).open("a") as file:
        file.write('{"of": "half a li')
    known = Notes(tmp_path / "batch")
    assert known.of(job) is not None
    assert known.of(jobs(folder, "mine.py", interval="5m")[0]) is None
    strategy.write_text(f"{TURNER}# changed\n")
    assert known.of(job) is None
    strategy.write_text(TURNER)
    assert known.of(job) is not None
    assert job.bars is not None
    os.utime(job.bars, (1_000, 1_000))
    assert known.of(job) is None
    os.rename(run, tmp_path / "away")
    again = Notes(tmp_path / "batch")
    assert again.of(job) is None


def jobs(folder: Path, strategy: str, **changes: str) -> list[Asked]:
    values = {
        "start": "",
        "end": "",
        "instrument": "",
        "strategy": strategy,
        "interval": "1m",
        "fee_taker": "0",
        "slippage": "none",
        "fill": "",
        "quantity": "1",
        "cash": "100",
        "drawdown_max": "",
        "daily_loss_max": "",
        "time_format": "",
        "calendar": "",
        **changes,
    }
    asked = Asked(
        trades=None,
        bars=folder,
        parameters=(),
        columns=(),
        scalar=False,
        accept_data_faults=True,
        **values,
    )
    return backtest_folder.jobs_of(asked)
