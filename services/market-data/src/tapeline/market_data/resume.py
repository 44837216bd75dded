"""What of a feed is on the topics already, read from their ends.

Errors:
    LogUnavailable  the broker did not answer within the bound
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from tapeline.contracts import topics
from tapeline.contracts.market import FundingRate, MacroReading, Quote, Trade
from tapeline.contracts.system import Watermark
from tapeline.contracts.topics import TOPICS
from tapeline.market_data.feed_core import (
    FUNDING_PARTITION,
    MACRO_PARTITION,
    QUARANTINE_PARTITION,
    Place,
    Resume,
)
from tapeline.market_data.feeds.interface import LastSeen
from tapeline.runtime.codec import DecodeError, Decoder
from tapeline.runtime.kafka import confluent_config
from tapeline.runtime.log import Raw
from tapeline.runtime.log_reader import LogReader
from tapeline.runtime.settings import KafkaSettings

WINDOW: Final = 2000
WINDOW_MAX: Final = 200_000
QUARANTINE_WINDOW: Final = 10_000
IDS_KEPT: Final = 4000


@dataclass(slots=True)
class _Findings:
    """What was read of one feed so far."""

    feed: str
    sequences: dict[Place, int] = field(default_factory=dict)
    slices: dict[Place, int] = field(default_factory=dict)
    trades: dict[str, list[Trade]] = field(default_factory=dict)
    newest_ns: dict[str, int] = field(default_factory=dict)

    def take(self, place: Place, record: object) -> None:
        """One record of the topics; those of other feeds are passed over."""
        if isinstance(record, Watermark):
            if record.source == f"feed/{self.feed}":
                self.slices[place] = max(self.slices.get(place, 0), record.slice)
            return
        kinds = Trade | Quote | MacroReading | FundingRate
        if not isinstance(record, kinds) or record.feed != self.feed:
            return
        self.sequences[place] = max(self.sequences.get(place, -1), record.feed_sequence)
        if isinstance(record, MacroReading | FundingRate):
            return
        name = record.instrument_id
        self.newest_ns[name] = max(self.newest_ns.get(name, -1), record.ts_event_ns)
        if isinstance(record, Trade) and record.trade_id:
            self.trades.setdefault(name, []).append(record)

    def is_enough(self, place: Place) -> bool:
        """True when the last tick and the last watermark of a partition are known."""
        return place in self.sequences and place in self.slices

    def seen(self) -> dict[str, LastSeen]:
        """By instrument, for feeds that cannot be read again."""
        found = {}
        for name, newest_ns in self.newest_ns.items():
            trades = sorted(self.trades.get(name, ()), key=lambda trade: trade.feed_sequence)
            ids = tuple(trade.trade_id for trade in trades[-IDS_KEPT:])
            found[name] = LastSeen(ts_event_ns=newest_ns, trade_ids=ids)
        return found


def find_resume(
    settings: KafkaSettings, feed: str, partition_count: int
) -> tuple[Resume, dict[str, LastSeen]]:
    """Where a feed left off; reads each partition from its end until tick and watermark are found.

    A partition without ticks of the feed is read to its start: watermarks are all it holds.
    """
    reader = LogReader(confluent_config(settings), settings.topic_prefix)
    places = [(topics.TICKS, number) for number in range(partition_count)]
    places += [(topics.MACRO, MACRO_PARTITION), (topics.FUNDING_RATES, FUNDING_PARTITION)]
    findings = _Findings(feed)
    _read_back(reader, places, findings)
    quarantined = _quarantined(reader, f"feed/{feed}")
    resume = Resume(sequences=findings.sequences, slices=findings.slices, quarantined=quarantined)
    return resume, findings.seen()


def _read_back(reader: LogReader, places: Sequence[Place], findings: _Findings) -> None:
    names = {name for topic, _ in places for name in TOPICS[topic].records}
    decoder = Decoder(tuple(sorted(names)))
    starts, ends = reader.starts(places), reader.ends(places)
    window = WINDOW
    while ends:
        ranges = {place: (max(starts[place], end - window), end) for place, end in ends.items()}
        for place, raws in reader.read(ranges).items():
            for raw in raws:
                _take(decoder, findings, place, raw)
        ends = {
            place: start
            for place, (start, _) in ranges.items()
            if start > starts[place] and not findings.is_enough(place)
        }
        window = min(window * 4, WINDOW_MAX)


def _take(decoder: Decoder, findings: _Findings, place: Place, raw: Raw) -> None:
    try:
        findings.take(place, decoder.decode(raw.value))
    except DecodeError:
        return  # not ours: we read our own schemas


def _quarantined(reader: LogReader, source: str) -> frozenset[str]:
    """Ids of the feed's last records in quarantine."""
    place = (topics.QUARANTINE, QUARANTINE_PARTITION)
    start, end = reader.starts([place])[place], reader.ends([place])[place]
    raws: Iterable[Raw] = reader.read({place: (max(start, end - QUARANTINE_WINDOW), end)})[place]
    return frozenset(raw.header("event_id") for raw in raws if raw.header("producer") == source)
