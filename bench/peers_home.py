"""Environments of the other backtesters, made on first use: a folder for each lock of theirs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
HOME: Final = ROOT / ".tapeline"


def interpreter(lock: str) -> Path | None:
    """The Python that has what requirements/LOCK.lock names; None where that is not possible."""
    wanted = (ROOT / "requirements" / f"{lock}.lock").read_text()
    folder = HOME / (lock if lock == "peers" else f"peers-{lock}")
    python, stamp = folder / "bin" / "python", folder / ".lock"
    if stamp.is_file() and stamp.read_text() == wanted:
        return python
    chosen = newer_python()
    if chosen is None:
        print(
            f"No Python 3.12 or 3.13 was found for {lock} (TAPELINE_BENCH_PYTHON names one): "
            "left out.",
            flush=True,
        )
        return None
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([chosen, "-m", "venv", str(folder)], check=True)
    uv = Path(sys.executable).parent / "uv"
    command = [str(uv), "pip", "sync", "-q", "--require-hashes", f"requirements/{lock}.lock"]
    environment = {**os.environ, "VIRTUAL_ENV": str(folder)}
    subprocess.run(command, cwd=ROOT, check=True, env=environment)
    stamp.write_text(wanted)
    return python


def newer_python() -> str | None:
    """One that the peers' wheels are made for."""
    named = os.environ.get("TAPELINE_BENCH_PYTHON", "")
    candidates = [named] if named else [sys.executable, "python3.12", "python3.13"]
    script = "import sys; sys.exit(not (3, 12) <= sys.version_info[:2] <= (3, 13))"
    for candidate in candidates:
        path = shutil.which(candidate)
        if (
            path is not None
            and not subprocess.run(
                [path, "-c", script], capture_output=True, check=False
            ).returncode
        ):
            return path
    return None
