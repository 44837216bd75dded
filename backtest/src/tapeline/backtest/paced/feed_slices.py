"""Slices of a feed's records: the data of a preset, read, judged and cut as the feed does it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from tapeline.backtest.paced.setup import ALL, Choice, MacroInput, MarketSlice
from tapeline.contracts import topics
from tapeline.contracts.market import FundingRate, MacroReading, Quote, Trade
from tapeline.market_data.feed_core import FeedCore, Slice, Slicer
from tapeline.market_data.feeds.interface import FeedError, make_feed
from tapeline.market_data.quality import Gate
from tapeline.market_data.settings import MarketDataSettings
from tapeline.runtime.partition import partition_of
from tapeline.runtime.settings import load_settings


@dataclass(slots=True)
class FeedSlices:
    """Reads a feed once; `refused` counts what went to quarantine, by code."""

    settings: MarketDataSettings
    run_id: str
    partitions: int
    choice: Choice = ALL
    refused: dict[str, int] = field(default_factory=dict)

    async def __aiter__(self) -> AsyncIterator[MarketSlice]:
        """The slices, in order; raises FeedError for a feed that cannot be used or is live."""
        feed = make_feed(self.settings.feed, self.settings.feed_options)
        if feed.is_live:
            raise FeedError(
                f"The feed {feed.name} is live: a backtest needs what has happened.",
                "Choose a recorded feed, or a recorded run with --run.",
            )
        gate = Gate(self.settings.limits(feed.silence_ns_max))
        core = FeedCore(feed.name, self.run_id, self.partitions, partition_of, gate)
        settings = self.settings
        slicer = Slicer(core, settings.slice_ns(), settles=settings.slices_settle)
        self.refused = core.refused
        try:
            async for batch in feed.batches({}):
                for raw in batch:
                    name = getattr(raw, "instrument_id", "")
                    if not self.choice.is_played(raw.ts_event_ns, name):
                        continue
                    for finished in slicer.push(raw):
                        yield market_slice(finished)
            last = slicer.finish()
        finally:
            await feed.close()
        if not last:
            raise FeedError(
                f"The feed {feed.name} has no record that could be used.",
                "Check its options, the time range and the instruments; refused were "
                f"{core.refused or 'none'}.",
            )
        for finished in last:
            yield market_slice(finished)


def market_slice(part: Slice) -> MarketSlice:
    """What a feed sends of a slice, without watermarks and quarantine."""
    ticks: dict[int, list[Trade | Quote]] = {}
    macro: list[MacroInput] = []
    funding: list[MacroInput] = []
    for sent in part.records:
        record = sent.record
        if isinstance(record, Trade | Quote) and sent.topic == topics.TICKS:
            ticks.setdefault(sent.partition, []).append(record)
        elif isinstance(record, MacroReading):
            macro.append(MacroInput(record, sent.event_id))
        elif isinstance(record, FundingRate):
            funding.append(MacroInput(record, sent.event_id))
    return MarketSlice(
        number=part.number,
        end_ns=part.end_ns,
        is_final=part.is_final,
        ticks=ticks,
        macro=macro,
        funding=funding,
    )


def settings_of(
    feed: str,
    options: Mapping[str, str],
    intervals: str,
    slice_length: str,
    *,
    slices_settle: bool = False,
) -> MarketDataSettings:
    """The settings of the feed; raises SettingsError."""
    return load_settings(
        MarketDataSettings,
        feed=feed,
        feed_options=dict(options),
        intervals=intervals,
        slice_length=slice_length,
        slices_settle=slices_settle,
    )
