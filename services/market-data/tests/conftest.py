from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of recorded data; skips where there is none."""
    folder = os.environ.get("TAPELINE_DATA_DIR", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("TAPELINE_DATA_DIR names no folder of recorded market data")
    return Path(folder)
