"""Makes the hand-written helpers of this folder importable, and a clock that tests move."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
