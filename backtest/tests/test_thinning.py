"""Thinned lines keep what a reader looks for: the ends, the least, the highest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeline.backtest.report.thinning import POINTS_MAX, evenly, kept

VALUES = st.lists(st.integers(-1000, 1000).map(float), min_size=1, max_size=300)


@settings(max_examples=300, deadline=None)
@given(VALUES, st.integers(4, 40))
def test_a_thinned_line_keeps_its_ends_and_extremes(values: list[float], points: int) -> None:
    line = np.array(values)
    places = kept(line, points)
    assert len(places) <= max(points, 4) + 2
    assert np.all(np.diff(places) > 0)
    assert (places[0], places[-1]) == (0, len(line) - 1)
    shown = line[places]
    assert shown.min() == line.min()
    assert shown.max() == line.max()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10 * POINTS_MAX - 1), st.booleans())
def test_one_deep_point_anywhere_in_a_long_line_is_drawn(place: int, is_up: bool) -> None:
    line = np.zeros(10 * POINTS_MAX)
    line[place] = 1.0 if is_up else -1.0
    assert place in kept(line)


@pytest.mark.parametrize(("count", "marks"), [(5, 10), (10, 10), (11, 10), (5000, 100)])
def test_marks_are_few_and_even(count: int, marks: int) -> None:
    places = evenly(count, marks)
    assert len(places) == min(count, marks)
    assert (places[0], places[-1]) == (0, count - 1)
    assert np.ptp(np.diff(places)) <= 1
