"""Where Tapeline keeps its data: `.tapeline` in the current folder, or TAPELINE_HOME."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "TAPELINE_HOME"


def home() -> Path:
    """The folder; it need not exist yet."""
    named = os.environ.get(VARIABLE, "")
    return Path(named).expanduser().absolute() if named else Path.cwd() / ".tapeline"
