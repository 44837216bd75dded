from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest


def _load(name: str, path: Path) -> None:
    """Makes a helper of the tests importable under a name of its own."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


_load("market_data_exchange_server", Path(__file__).parent / "feeds" / "exchange_server.py")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of recorded data; skips where there is none."""
    folder = os.environ.get("TAPELINE_DATA_DIR", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("TAPELINE_DATA_DIR names no folder of recorded market data")
    return Path(folder)
