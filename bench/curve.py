"""The growth curve as a small SVG: seconds over ticks, both logarithmic."""

from __future__ import annotations

from collections.abc import Sequence
from math import log10
from typing import Any, Final

WIDTH, HEIGHT, MARGIN = 640, 360, 56
SERIES: Final = (("seconds", "engine", "#1f6feb"), ("process_seconds", "whole process", "#d29922"))


def drawn(runs: Sequence[dict[str, Any]]) -> str:
    """The picture; runs have rows, seconds and process_seconds."""
    rows = [log10(run["rows"]) for run in runs]
    values = [log10(run[name]) for run in runs for name, _, _ in SERIES]
    low_x, high_x = min(rows), max(rows)
    low_y, high_y = int(min(values)) - 1, int(max(values)) + 1

    def x(value: float) -> float:
        return MARGIN + (value - low_x) / (high_x - low_x) * (WIDTH - 2 * MARGIN)

    def y(value: float) -> float:
        return HEIGHT - MARGIN - (value - low_y) / (high_y - low_y) * (HEIGHT - 2 * MARGIN)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{MARGIN}" y="24" font-size="14">Work T: seconds over ticks</text>',
    ]
    parts += [
        f'<line x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{y(power):.1f}" y2="{y(power):.1f}" '
        f'stroke="#ddd"/><text x="{MARGIN - 6}" y="{y(power) + 4:.1f}" text-anchor="end">'
        f"{10.0**power:g}</text>"
        for power in range(low_y, high_y + 1)
    ]
    parts += [
        f'<text x="{x(place):.1f}" y="{HEIGHT - MARGIN + 20}" text-anchor="middle">'
        f"{run['rows']:,}</text>"
        for run, place in zip(runs, rows, strict=True)
    ]
    for number, (name, words, color) in enumerate(SERIES):
        points = [(x(place), y(log10(run[name]))) for run, place in zip(runs, rows, strict=True)]
        line = " ".join(f"{left:.1f},{top:.1f}" for left, top in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts += [
            f'<circle cx="{left:.1f}" cy="{top:.1f}" r="3" fill="{color}"/>' for left, top in points
        ]
        parts.append(
            f'<text x="{MARGIN + 12}" y="{48 + 18 * number}" fill="{color}">{words}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])
