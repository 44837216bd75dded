"""What a killed parent leaves behind: nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PARENT = """
import multiprocessing, os, signal, sys, time
from concurrent.futures import ProcessPoolExecutor
from tapeline.backtest.with_parent import end_with_parent

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(1, mp_context=context, initializer=end_with_parent)
    pool.submit(time.sleep, 0).result()
    pool.submit(time.sleep, float(sys.argv[1]))
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("task_s", ["0", "3600"])
def test_no_process_of_a_pool_outlives_its_parent(tmp_path: Path, task_s: str) -> None:
    program = tmp_path / "parent.py"
    program.write_text(PARENT)
    parent = subprocess.Popen(
        [sys.executable, str(program), task_s], stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        # They share its standard output: it ends with the last of them.
        parent.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        os.killpg(parent.pid, signal.SIGKILL)
        parent.communicate()
        pytest.fail("a process of the pool outlived its parent")
    assert parent.returncode == -signal.SIGKILL
