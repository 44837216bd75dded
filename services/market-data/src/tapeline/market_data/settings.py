"""Settings of market-data: TAPELINE_MARKET_DATA_..., beside those of every service."""

from __future__ import annotations

import json
from typing import Annotated, ClassVar, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from tapeline.market_data.bars_core import is_ladder
from tapeline.market_data.durations import SECOND_NS, duration_ns
from tapeline.market_data.quality import Limits
from tapeline.runtime.settings import ServiceSettings, TextList


def _options(value: object) -> object:
    return json.loads(value) if isinstance(value, str) else value


FeedOptions = Annotated[dict[str, str], BeforeValidator(_options)]
"""In the environment: JSON, such as {"seed": "7"}"""


class MarketDataSettings(ServiceSettings):
    """What a deployment of market-data may tune. TAPELINE_IS_PACED chooses the pace of the feed:
    the data's own, slice by slice, or real time."""

    service: ClassVar[str] = "market-data"

    feed: str = "econometrics"
    """name of the plug-in"""
    feed_options: FeedOptions = Field(default_factory=dict)
    """options of the plug-in"""
    intervals: TextList = ("1m", "5m", "1h", "1d")
    """lengths of the bars, ascending; the first divides all, all divide the last"""
    slice_length: str = ""
    """paced: length of a slice of event time, whole seconds; empty: the shortest interval"""
    slices_settle: bool = False
    """paced: a slice's last nanosecond is a slice of its own, so that a bar's end is decided upon
    with the fills within the bar; twice as many slices"""
    reporters: TextList = ()
    """paced: whose SliceDone releases the next slice, such as risk/0,execution/0,group/momentum"""
    reporters_wait_s: float = Field(default=60.0, gt=0, le=3600)
    """paced: then the feed gives up and says who is missing"""
    speed: float = Field(default=1.0, gt=0, le=1e6)
    """real time: recorded event time passes that much faster"""
    rate: float = Field(default=0.0, ge=0, le=1e6)
    """real time: ticks a second, evenly spaced, instead of `speed`; 0: off"""
    lateness_allowed_s: float = Field(default=1.0, ge=0, le=60)
    """live: a watermark stands that much behind the clock, so that slow ticks are not late"""
    silence_s_max: float = Field(default=-1.0, ge=-1, le=86_400)
    """longer silence of an instrument is a gap; 0: never; -1: what the feed says of itself"""
    frozen_s_max: float = Field(default=3600.0, ge=0, le=864_000)
    """one price for longer is stale; 0: never"""
    age_s_max: float = Field(default=10.0, gt=0, le=3600)
    """live: an older tick is stale"""
    ahead_s_max: float = Field(default=5.0, gt=0, le=3600)
    """live: a tick further in the future is refused"""
    disorder_s_max: float = Field(default=5.0, ge=0, le=3600)
    """a tick further behind the newest of its instrument is refused"""
    spike_deviations: float = Field(default=10.0, ge=3, le=1000)
    """robust deviations from the median of the last prices; beyond is flagged"""
    absurd_ratio: float = Field(default=3.0, ge=1.1, le=1000)
    """a price that many times the last ones, or a fraction of that size, is refused"""

    @field_validator("intervals")
    @classmethod
    def _are_a_ladder(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not is_ladder(tuple(duration_ns(text) for text in value)):
            raise ValueError(
                "expected ascending whole seconds of which the first divides all and the last is "
                "a multiple of all, such as 1m,5m,1h,1d"
            )
        return value

    @model_validator(mode="after")
    def _has_whole_slices(self) -> Self:
        if self.slice_length and duration_ns(self.slice_length) % SECOND_NS:
            raise ValueError("TAPELINE_MARKET_DATA_SLICE_LENGTH must be whole seconds")
        return self

    def intervals_ns(self) -> tuple[int, ...]:
        """Lengths of the bars, nanoseconds."""
        return tuple(duration_ns(text) for text in self.intervals)

    def slice_ns(self) -> int:
        """Length of a slice, nanoseconds."""
        return duration_ns(self.slice_length) if self.slice_length else self.intervals_ns()[0]

    def limits(self, silence_ns_of_feed: int) -> Limits:
        """The gate's part of the settings."""
        silence_ns_max = _ns(self.silence_s_max) if self.silence_s_max >= 0 else silence_ns_of_feed
        return Limits(
            silence_ns_max=silence_ns_max,
            frozen_ns_max=_ns(self.frozen_s_max),
            age_ns_max=_ns(self.age_s_max),
            ahead_ns_max=_ns(self.ahead_s_max),
            disorder_ns_max=_ns(self.disorder_s_max),
            spike_deviations=self.spike_deviations,
            absurd_ratio=self.absurd_ratio,
        )


def _ns(seconds: float) -> int:
    return int(seconds * SECOND_NS)
