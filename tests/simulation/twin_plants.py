"""Bugs that only another order of maps, or another way to the same state, shows; see plants.py."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from .plants import Plant

RISK, EXECUTION = "tapeline.risk", "tapeline.execution"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsorted:
    """A module that goes through its maps as they come."""

    name: str
    where: str

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Its `sorted` sorts nothing as long as this lasts."""
        module: Any = importlib.import_module(self.where)
        module.sorted = _as_it_comes
        try:
            yield
        finally:
            del module.sorted


def _as_it_comes(items: Iterable[Any], **_how: Any) -> list[Any]:
    return list(items)


def _steps_kept(original: Any) -> Any:
    """What was found before a tick was kept counts behind it, too."""

    def evolve(self: Any, state: Any, event: Any) -> Any:
        kept = dict(self.steps)
        after = original(self, state, event)
        self.steps.update(kept)
        return after

    return evolve


def _stale_unit(original: Any) -> Any:
    """An appraiser that believes its first answer."""

    def unit(self: Any, state: Any, instrument_id: str, base: str) -> Any:
        known = self.__dict__.setdefault("known_for_ever", {})
        if known.get((instrument_id, base)) is None:
            known[instrument_id, base] = original(self, state, instrument_id, base)
        return known[instrument_id, base]

    return unit


def _forgets(name: str) -> Any:
    def by(original: Any) -> Any:
        def load(data: bytes) -> Any:
            state = original(data)
            paper = type(state.paper)(
                **{
                    field: getattr(state.paper, field)
                    for field in type(state.paper).__dataclass_fields__
                    if field != name
                }
            )
            return type(state)(
                **{
                    field: paper if field == "paper" else getattr(state, field)
                    for field in type(state).__dataclass_fields__
                }
            )

        return load

    return by


TWIN_PLANTS: Final[tuple[Plant | Unsorted, ...]] = (
    Unsorted(name="sweep-as-it-comes", where=f"{EXECUTION}.core"),
    Unsorted(name="schedules-as-they-come", where=f"{EXECUTION}.scheduling"),
    Unsorted(name="timers-as-they-come", where=f"{EXECUTION}.venues.paper"),
    Unsorted(name="accruals-as-they-come", where=f"{EXECUTION}.venues.accruals"),
    Unsorted(name="flatten-as-it-comes", where=f"{RISK}.flatten"),
    Unsorted(name="snapshot-of-positions-as-it-comes", where=f"{RISK}.portfolio"),
    Plant(
        name="fill-knows-no-quote",
        what="a fill found before its tick was kept takes nothing of what is displayed",
        where=f"{EXECUTION}.venues.paper:PaperVenue.evolve",
        by=_steps_kept,
    ),
    Plant(
        name="first-price-for-ever",
        what="an appraiser keeps what a unit was worth when it first saw it",
        where=f"{RISK}.appraisal:Appraiser.unit",
        by=_stale_unit,
    ),
    *(
        Plant(
            name=f"snapshot-without-{name.replace('_', '-')}",
            what=f"the venue comes back without `{name}`",
            where=f"{EXECUTION}.state:load",
            by=_forgets(name),
        )
        for name in ("consumed", "quotes", "trades", "sequence", "funding", "told", "accrual_ns")
    ),
)
