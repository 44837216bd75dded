"""One trigger on one instrument: what the stage does around every core, as pure functions.

Skipped: a reading not newer than the last one (the same bar again, or an older one), and one whose
figures cannot be traded on. An incomplete bar is analysed, counted, and its signal says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from hashlib import sha256
from math import isfinite
from typing import Any, Final

import msgspec

from tapeline.agents.indicators import Window, mean
from tapeline.agents.trigger import Opinion, Reading, TriggerCore
from tapeline.contracts.agents import Signal
from tapeline.contracts.config import Trigger
from tapeline.contracts.market import Bar
from tapeline.runtime.ids import content_id, derive_id

LIQUIDITY_BAR_COUNT: Final = 20
"""bars that make up the usual volume"""
VALUE_MIN: Final = 1e-9
VALUE_MAX: Final = 1e12
"""Prices and macro values outside are no market's; they would ruin every later figure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """A trigger at work: its config record and its core."""

    config: Trigger
    core: TriggerCore[Any]

    @property
    def fingerprint(self) -> str:
        """Of all that a kept state depends on; a changed record starts the trigger anew."""
        body = msgspec.json.encode(self.config.to_avro(), order="deterministic")
        return sha256(body).hexdigest()[:16]

    def concerns(self, reading: Reading) -> bool:
        """Its bar interval and instruments; macro readings for a trigger without bars."""
        if not isinstance(reading, Bar):
            return self.config.interval_ns == 0
        if reading.interval_ns != self.config.interval_ns:
            return False
        return not self.config.instruments or reading.instrument_id in self.config.instruments


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a trigger stands for one instrument, or one macro series."""

    core_state: Any
    last_event_ns: int = -1
    incomplete_count: int = 0
    volumes: Window = field(default_factory=lambda: Window(size=LIQUIDITY_BAR_COUNT))


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    """Standing as it is kept: the state of the core as its own JSON."""

    core: msgspec.Raw
    fingerprint: str
    incomplete_count: int
    last_event_ns: int
    volumes: tuple[float, ...]


def subject_of(reading: Reading) -> str:
    """What a state is kept for: the instrument, or the macro series."""
    return reading.instrument_id if isinstance(reading, Bar) else reading.series


def initial(watch: Watch) -> Standing:
    """Before the first reading."""
    return Standing(core_state=watch.core.initial())


def analyse(
    watch: Watch, standing: Standing, reading: Reading
) -> tuple[Standing, Opinion | None, float]:
    """State after a reading, the opinion if there is one, and the liquidity of the bar, 0 to 1."""
    if reading.ts_event_ns <= standing.last_event_ns or not is_usable(reading):
        return standing, None, 0.0
    core_state, opinion = watch.core.step(standing.core_state, reading)
    after = replace(standing, core_state=core_state, last_event_ns=reading.ts_event_ns)
    if not isinstance(reading, Bar):
        return after, opinion, 1.0
    after = replace(
        after,
        incomplete_count=standing.incomplete_count + (not reading.is_complete),
        volumes=standing.volumes.push(reading.volume),
    )
    return after, opinion, liquidity(standing.volumes, reading.volume)


def is_usable(reading: Reading) -> bool:
    """Positive, finite, in a market's range, and a bar whose low and high enclose its close."""
    if not isinstance(reading, Bar):
        return VALUE_MIN <= reading.value <= VALUE_MAX
    prices = (reading.open, reading.high, reading.low, reading.close)
    return (
        all(VALUE_MIN <= price <= VALUE_MAX for price in prices)
        and reading.low <= reading.close <= reading.high
        and 0.0 <= reading.volume <= VALUE_MAX
    )


def liquidity(volumes: Window, volume: float) -> float:
    """Share of the usual bar's volume, at most 1; 1 where the feed has told no volume so far."""
    usual = mean(volumes.values) if volumes.values else 0.0
    return min(volume / usual, 1.0) if usual > 0.0 else 1.0


def signal_of(
    watch: Watch, opinion: Opinion, reading: Reading, run_id: str, session_ns: int, share: float
) -> Signal:
    """The signal of an opinion; the same reading gives the same one. `share` is the liquidity."""
    name, bar = watch.config.trigger, reading if isinstance(reading, Bar) else None
    features = {key: opinion.features[key] for key in sorted(opinion.features)}
    reason = opinion.reason
    if bar is not None and not bar.is_complete:
        features, reason = {**features, "is_incomplete": 1.0}, f"{reason} The bar is incomplete."
    figures = (opinion.confidence, opinion.expected_return, *features.values())
    assert all(map(isfinite, figures)), f"{name} gave a figure that is not finite: {opinion}"
    assert 0.0 <= opinion.confidence <= 1.0, f"{name} gave a confidence outside 0 to 1: {opinion}"
    cause_id = content_id(reading.content_key())
    return Signal(
        signal_id=derive_id(run_id, f"trigger/{name}", cause_id, "Signal"),
        trigger=name,
        universe=watch.config.universe,
        instrument_id="" if bar is None else bar.instrument_id,
        direction=opinion.direction,
        confidence=opinion.confidence,
        expected_return=opinion.expected_return,
        liquidity=share,
        horizon_ns=opinion.horizon_ns,
        price=0.0 if bar is None else bar.close,
        reason=reason,
        features=features,
        ts_event_ns=reading.ts_event_ns,
        ts_init_ns=max(session_ns, reading.ts_event_ns),
    )


def dump(watch: Watch, standing: Standing) -> bytes:
    """Canonical JSON of a standing."""
    kept = _Kept(
        core=msgspec.Raw(watch.core.dump(standing.core_state)),
        fingerprint=watch.fingerprint,
        incomplete_count=standing.incomplete_count,
        last_event_ns=standing.last_event_ns,
        volumes=standing.volumes.values,
    )
    return msgspec.json.encode(kept)


def load(watch: Watch, data: bytes) -> Standing | None:
    """Inverse of dump; None for a state of another form of the trigger's config record."""
    kept = msgspec.json.decode(data, type=_Kept)
    if kept.fingerprint != watch.fingerprint:
        return None
    return Standing(
        core_state=watch.core.load(bytes(kept.core)),
        last_event_ns=kept.last_event_ns,
        incomplete_count=kept.incomplete_count,
        volumes=Window(size=LIQUIDITY_BAR_COUNT, values=kept.volumes),
    )
