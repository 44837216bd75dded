"""Parts of event time: parameters are chosen on one and judged on the next, which they have not
seen.

One fold: the last share of the time is kept back. Several (walk-forward): the time behind the first
in-sample part is cut into as many out-of-sample parts as there are folds; each is preceded by an
in-sample part of the same length as the first, or with `is_anchored` by everything before it.
"""

from __future__ import annotations

from dataclasses import dataclass

from tapeline.runtime.exits import USAGE, Failure


class BadFolds(Failure):
    """The time cannot be cut so."""

    exit_code = USAGE


@dataclass(frozen=True, slots=True)
class Window:
    """start <= event time < end, nanoseconds UTC."""

    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Fold:
    """What is chosen on, and what is judged on."""

    number: int
    """from 1"""
    inside: Window
    outside: Window


def folds_of(
    whole: Window, width_ns: int, *, count: int, share: float, is_anchored: bool = False
) -> tuple[Fold, ...]:
    """`share` of the whole time is out-of-sample, in `count` parts, each of whole slices of
    `width_ns`; raises BadFolds where a part would have no slice."""
    if not 0 < share < 1 or count < 1:
        raise BadFolds(
            f"{count} folds with a share of {share} out of sample are not possible.",
            "Use one fold or more, and a share between 0 and 1.",
        )
    slices = (whole.end_ns - whole.start_ns) // width_ns
    outside = int(slices * share) // count
    first = slices - outside * count
    if outside < 1 or first < 1:
        raise BadFolds(
            f"{slices} slices are too few for {count} folds with a share of {share}.",
            "Use fewer folds, or more data.",
        )

    def at(number: int) -> int:
        return whole.start_ns + number * width_ns

    found = []
    for number in range(count):
        end = first + number * outside
        start = 0 if is_anchored else end - first
        behind = slices if number == count - 1 else end + outside
        until = whole.end_ns if number == count - 1 else at(behind)
        found.append(Fold(number + 1, Window(at(start), at(end)), Window(at(end), until)))
    return tuple(found)
