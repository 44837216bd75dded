"""Long series as charts can bear them: the least and the highest of each stretch are kept."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np

from tapeline.backtest.report.growth import Floats, Times

POINTS_MAX: Final = 2_000
"""points of a line"""
MARKS_MAX: Final = 1_000
"""fills of one side on a chart of prices"""


def kept(values: Floats, points: int = POINTS_MAX) -> Times:
    """Places to draw: all, or the first, the last, and the extremes of equal stretches."""
    count = len(values)
    if count <= points:
        return np.arange(count, dtype=np.int64)
    edges = np.linspace(0, count, points // 2 + 1).astype(np.int64)
    sound = np.nan_to_num(values, nan=0.0)
    found = [0, count - 1]
    for start, end in pairwise(edges.tolist()):
        if end > start:
            part = sound[start:end]
            found += [start + int(np.argmin(part)), start + int(np.argmax(part))]
    return np.unique(np.asarray(found, dtype=np.int64))


def evenly(count: int, marks: int = MARKS_MAX) -> Times:
    """Places of at most so many of them, evenly."""
    if count <= marks:
        return np.arange(count, dtype=np.int64)
    return np.unique(np.linspace(0, count - 1, marks).astype(np.int64))
