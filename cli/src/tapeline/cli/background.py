"""`tapeline up` and `down`: a session in a process of its own, and the choice of what it plays.

`up.json` in the home keeps the choice and the run that goes with it, so that `up` after `down`
goes on with the same run; `up.pid` names the process while it lives.
"""

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

import psutil

from tapeline.cli.configuration import load_configuration
from tapeline.cli.runs import RunStore, RunUnknown
from tapeline.cli.session import Session
from tapeline.cli.sources import BadSource, Source, chosen_source, prepared
from tapeline.cli.stack.errors import AlreadyRunning, StackError
from tapeline.cli.stack.folder import require_fit
from tapeline.cli.stack.logs import tail
from tapeline.runtime import clock

START_S = 90.0
STOP_S = 60.0
DEFAULT = "synthetic:1"


class UpFailed(StackError):
    """The background process ended before it was up."""


def choose(home: Path, text: str) -> str:
    """Keeps a choice, or says what is chosen."""
    if not text:
        return str(_kept(home).get("source", DEFAULT))
    source_of(text)
    _keep(home, {"source": text})
    return f"`tapeline up` plays {text} from its next start on"


def source_of(text: str) -> Source:
    """default, ticks, synthetic:SEED or live:EXCHANGE. What happens in real time is not paced."""
    kind, _, value = text.partition(":")
    if kind == "synthetic" and value.isdigit():
        return chosen_source(synthetic=int(value), is_paced=False)
    if kind == "live" and value:
        return chosen_source(live=value)
    if kind in ("default", "ticks") and not value:
        return chosen_source()
    raise BadSource(
        f"{text!r} is no source.", "Write default, ticks, synthetic:SEED or live:EXCHANGE."
    )


def start(home: Path, text: str, *, is_dev: bool, say: Callable[[str], None]) -> None:
    """Starts the session in the background and waits until it is up."""
    require_fit(home)
    if running(home) is not None:
        raise AlreadyRunning("A run is up already.", "See `tapeline status`, or `tapeline down`.")
    kept = _kept(home)
    text = text or str(kept.get("source", DEFAULT))
    name = _run_of(home, text, kept)
    run = RunStore(home).get(name)
    folder = RunStore(home).folder(name)
    log = folder / "logs" / "session.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    ready = folder / "up"
    ready.unlink(missing_ok=True)
    argv = [sys.executable, "-m", "tapeline.cli", "serve", name, *(["--dev"] if is_dev else [])]
    with log.open("ab") as out:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    _write(
        home / "up.pid", {"pid": process.pid, "created": psutil.Process(process.pid).create_time()}
    )
    say(f"starting {run.name}: {run.source}")
    deadline_s = clock.monotonic_s() + START_S
    while not ready.exists():
        if process.poll() is not None:
            (home / "up.pid").unlink(missing_ok=True)
            raise UpFailed(tail(log).strip(), f"Correct it and try again; the log is {log}.")
        if clock.monotonic_s() > deadline_s:
            raise UpFailed(f"It is not up after {START_S:.0f} s.", f"Look at {log}.")
        time.sleep(0.2)
    say("up; see `tapeline status`, stop with `tapeline down`")


def _run_of(home: Path, text: str, kept: dict[str, Any]) -> str:
    """The run that goes with a choice: the one before, or a new one."""
    store = RunStore(home)
    if kept.get("source") == text and kept.get("run"):
        try:
            return store.get(str(kept["run"])).name
        except RunUnknown:
            pass
    source = source_of(text)
    run, _ = prepared(home, source, f"up-{source.stem}")
    _keep(home, {"source": text, "run": run.name, "feed_options": source.feed_options})
    return run.name


def stop(home: Path) -> str:
    """Ends the background session; says what happened."""
    process = running(home)
    if process is None:
        (home / "up.pid").unlink(missing_ok=True)
        return "nothing was up"
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_S)
        result = "down; the data stays"
    except psutil.TimeoutExpired:
        # Its children end with it: their guards see to that.
        process.kill()
        result = f"killed, as it had not ended after {STOP_S:.0f} s; the data stays"
    (home / "up.pid").unlink(missing_ok=True)
    return result


def running(home: Path) -> psutil.Process | None:
    """The background process, if it is still the one that was started."""
    try:
        mark = json.loads((home / "up.pid").read_text())
        process = psutil.Process(int(mark["pid"]))
        is_same = abs(process.create_time() - float(mark["created"])) < 1.0
    except (OSError, ValueError, KeyError, psutil.NoSuchProcess):
        return None
    return process if is_same and process.status() != psutil.STATUS_ZOMBIE else None


def serve(home: Path, name: str, *, is_dev: bool) -> None:
    """The background process itself: a session until SIGTERM."""
    run = RunStore(home).get(name)
    stopping = False

    def on_signal(_number: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    configuration = load_configuration(RunStore(home).folder(name) / "config.toml")
    options = dict(_kept(home).get("feed_options", {}))
    with Session(home, run, configuration, feed_options=options, is_dev=is_dev) as session:
        (session.folder / "up").write_text(f"{os.getpid()}\n")
        session.watch(lambda: stopping)
        (session.folder / "up").unlink(missing_ok=True)


def _kept(home: Path) -> dict[str, Any]:
    try:
        kept = json.loads((home / "up.json").read_text())
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _keep(home: Path, choice: dict[str, Any]) -> None:
    _write(home / "up.json", choice)


def _write(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(value) + "\n")
    part.replace(path)
