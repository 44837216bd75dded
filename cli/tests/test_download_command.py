"""`tapeline data download` as a process against an exchange's protocol on loopback: it is killed,
meets faults, goes on, and what it wrote is checked and played."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
from history_server import MINUTE_MS, History, serving

START, END = "2019-10-11T00:00:00", "2019-10-12T17:40:00"
START_MS = 1_570_752_000_000
COUNT = 2500
MISSING = range(700, 705)
CONFIG = json.dumps({"options": {"fetchMarkets": {"types": ["spot"]}}, "rateLimit": 1})
LIMIT_S = 120


def bars() -> list[tuple[int, float, float, float, float, float]]:
    """Minutes of a price that goes up and down, five of them missing."""
    closes = [round(100 + 5 * math.sin(index / 40), 4) for index in range(COUNT)]
    found = []
    for index, close in enumerate(closes):
        opened = closes[max(index - 1, 0)]
        at_ms = START_MS + index * MINUTE_MS
        found.append((at_ms, opened, max(opened, close), min(opened, close), close, 10.0 + index))
    return [bar for index, bar in enumerate(found) if index not in MISSING]


def tapeline(*words: str) -> list[str]:
    return [sys.executable, "-m", "tapeline.cli", *words]


def download(history: History, path: Path, *more: str) -> list[str]:
    asked = ("--from", START, "--to", END, "--url", history.url, "--config", CONFIG)
    return tapeline("data", "download", "binance", "XRP/ETH", *asked, "--out", str(path), *more)


def told(words: list[str], home: Path) -> Any:
    environment = {**os.environ, "TAPELINE_HOME": str(home)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)


def test_a_download_that_was_killed_goes_on_and_its_file_is_checked_and_played(
    tmp_path: Path,
) -> None:
    faults = ["ok", "429", "half", "500", "ok", "hang"]
    history = History(bars=bars(), faults=faults, retry_after_s="0.2")
    path = tmp_path / "bars.parquet"
    with serving(history):
        killed = subprocess.Popen(download(history, path), stdout=subprocess.DEVNULL)
        deadline_s = time.monotonic() + LIMIT_S
        while history.faults:  # the last of them hangs
            assert killed.poll() is None
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        killed.send_signal(signal.SIGKILL)
        assert killed.wait() == -signal.SIGKILL
        assert not path.exists()
        asked = len(history.requests)
        history.faults = ["empty"]
        found = told(download(history, path, "--json"), tmp_path)
    assert found["rows"] == COUNT - len(MISSING)
    assert len(history.requests) - asked == 2, "the page that hung, asked for twice"
    frame = pl.read_parquet(path)
    assert frame.rows() == [(at_ms * 1_000_000, *prices) for at_ms, *prices in history.bars]
    assert not list(tmp_path.glob("*.pages"))

    (report,) = told(tapeline("data", "check", str(path), "--json"), tmp_path)
    assert report["is_fit"]
    gaps = [one for one in report["findings"] if "GAP" in one["code"]]
    assert gaps, report["findings"]

    words = ("backtest", "--bars", str(path), "--instrument", found["instrument_id"], "--json")
    played = told(tapeline(*words, "--param", "fast=5", "--param", "slow=20"), tmp_path)
    assert played["events"] == played["bars"] == COUNT - len(MISSING)
    assert played["orders"] > 10
    assert played["warnings"], "the gap is told"


def test_what_the_exchange_has_not_is_one_message_and_leaves_no_file(tmp_path: Path) -> None:
    history = History(bars=())
    path = tmp_path / "bars.parquet"
    with serving(history):
        words = download(history, path)
        done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "binance has no 1m of XRP/ETH" in done.stderr
    assert not path.exists()
