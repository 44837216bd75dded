"""The Jobs of a sweep as processes: their very commands, environment and volume, on one machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
from proving.playing import PRESET

from tapeline.cli.home import VARIABLE
from tapeline.cli.sweep_jobs import arguments, manifests

GIVEN: dict[str, Any] = {
    "run": "", "preset": str(PRESET), "method": "grid", "trials": 60, "seed": 1,
    "axes": ["sma_cross.fast=2,3", "venue.US.taker_fee_rate=0,0.001"],
    "objective": "total_return", "folds": 1, "share": 0.3, "anchored": False,
    "start": "", "end": "", "instruments": "", "groups": "trend", "settings": [],
    "feed_options": ["start=2014-01-01", "end=2014-03-20"], "llm": "",
    "accept_data_faults": False,
}  # fmt: skip


def jobs(volume: Path, given: dict[str, Any], parts: int) -> list[subprocess.Popen[str]]:
    """Starts the container of each Job; the volume of the claim is a folder here."""
    items = json.loads(manifests(given, parts))["items"]
    pods = [item["spec"]["template"]["spec"] for item in items if item["kind"] == "Job"]
    assert len(pods) == parts
    return [started(volume, pod) for pod in pods]


def started(volume: Path, pod: dict[str, Any]) -> subprocess.Popen[str]:
    (container,) = pod["containers"]
    claims = {one["name"] for one in pod["volumes"] if "persistentVolumeClaim" in one}
    (mount,) = [one["mountPath"] for one in container["volumeMounts"] if one["name"] in claims]
    environment = {one["name"]: one["value"] for one in container["env"]}
    assert environment == {VARIABLE: mount}, "what is written lands on the volume"
    program, *rest = container["command"]
    assert program == "python"
    return subprocess.Popen(
        [sys.executable, *rest, *container["args"]],
        # A container has no other variables of ours; these are the interpreter's.
        env={"PATH": os.environ["PATH"], "HOME": str(volume), VARIABLE: str(volume)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    out, err = process.communicate()
    return process.returncode, out + err


def joined(volume: Path) -> pl.DataFrame:
    """The table that the same command makes of what the Jobs left on the volume."""
    command = [sys.executable, "-m", "tapeline.cli", "sweep", *arguments(GIVEN), "--json"]
    environment = {**os.environ, VARIABLE: str(volume)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    table: pl.DataFrame = pl.read_parquet(json.loads(done.stdout)["results"])
    return table.select(pl.exclude("seconds"))


def noted(volume: Path) -> list[str]:
    """The key of each in-sample trial that a Job has noted, in any order."""
    books = volume.glob("sweeps/*/*.jsonl")
    return sorted(json.loads(line)["key"] for book in books for line in _whole_lines(book))


def _whole_lines(book: Path) -> list[str]:
    text = book.read_text()
    return text[: text.rfind("\n") + 1].splitlines()


def test_jobs_that_are_restarted_killed_or_run_twice_come_to_the_table_of_one_process(
    tmp_path: Path,
) -> None:
    alone = joined(tmp_path / "alone")
    volume = tmp_path / "volume"
    first, second = jobs(volume, GIVEN, 2)
    # The pod of the second is killed once it has noted something, and starts anew.
    while second.poll() is None and not list(volume.glob("sweeps/*/*2*.jsonl")):
        time.sleep(0.05)
    second.send_signal(signal.SIGKILL)
    ended(second)
    assert ended(first)[0] == 0
    for again in jobs(volume, GIVEN, 2):
        code, said = ended(again)
        assert code == 0, said
    keys = noted(volume)
    assert len(keys) == len(set(keys)) == 4, "what was noted is not played again"
    assert joined(volume).equals(alone)


def test_a_job_that_cannot_play_fails_and_says_why(tmp_path: Path) -> None:
    for number, job in enumerate(jobs(tmp_path, {**GIVEN, "groups": "tremd"}, 2), 1):
        code, said = ended(job)
        assert code != 0, f"part {number} would count as done"
        assert "tremd" in said
    assert not noted(tmp_path)
