"""Plays a feed: at the data's own pace, recorded in real time, or live.

Paced: slice by slice; the next is published when every reporter has finished the one before.
Real time: a record is sent when the schedule says so, and its event time is that moment, so that
ages and latencies mean something. Live: as it comes, with a watermark a second.
"""

from __future__ import annotations

import asyncio
from typing import Final

from tapeline.contracts import topics
from tapeline.market_data.durations import SECOND_NS
from tapeline.market_data.feed_core import FeedCore, Slice, Slicer
from tapeline.market_data.feeds.interface import Feed, FeedError, LastSeen, make_feed
from tapeline.market_data.publisher import Publisher
from tapeline.market_data.quality import Gate
from tapeline.market_data.reporters import Reporters
from tapeline.market_data.resume import find_resume
from tapeline.market_data.schedule import Schedule
from tapeline.market_data.settings import MarketDataSettings
from tapeline.runtime import clock
from tapeline.runtime.shell import Shell
from tapeline.runtime.telemetry import get_logger
from tapeline.runtime.topology import partition_count, partition_of

HEARTBEAT_S: Final = 2.0
log = get_logger(__name__)


async def play(feed: Feed, settings: MarketDataSettings, shell: Shell) -> None:
    """Plays a feed to its end, or until the shell is stopping; raises typed failures."""
    if feed.is_live and settings.is_paced:
        raise FeedError(
            f"The feed {feed.name} is live and cannot be paced.", "Set TAPELINE_IS_PACED=false."
        )
    player = await asyncio.to_thread(Player, feed, settings, shell)
    beats = asyncio.create_task(player.beat())
    playing = asyncio.create_task(player.run())
    stop = asyncio.create_task(_until_set(shell.stopping))
    tasks = (playing, beats, stop)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await feed.close()
    await player.publisher.flush()
    log.info("feed_stopped", feed=feed.name, refused=player.core.refused)


def open_feed(settings: MarketDataSettings) -> Feed:
    """The feed that the settings name; raises FeedError."""
    return make_feed(settings.feed, settings.feed_options)


class Player:
    """One feed on its way to Kafka."""

    def __init__(self, feed: Feed, settings: MarketDataSettings, shell: Shell) -> None:
        """Reads where the feed left off; blocks meanwhile."""
        self._feed = feed
        self._settings = settings
        self._shell = shell
        count = partition_count(settings, topics.TICKS)
        self._resume, self._seen = find_resume(settings, feed.name, count)
        gate = Gate(settings.limits(feed.silence_ns_max))
        if feed.is_live:
            for instrument_id, seen in self._seen.items():
                gate.know(instrument_id, seen.trade_ids, seen.ts_event_ns)
        first = self._resume.next_sequence() if feed.is_live else 0
        self.core = FeedCore(feed.name, settings.run_id, count, partition_of, gate, first)
        self.publisher = Publisher(settings, self.core.source, shell.metrics)
        self._slice = shell.metrics.gauge("tapeline_feed_slice", "Last slice published.")
        log.info(
            "feed_starts",
            feed=feed.name,
            resumes_behind=max(self._resume.sequences.values(), default=-1),
            slice=self._resume.slice_begun(),
        )

    async def run(self) -> None:
        """Plays to the end of the feed."""
        if self._settings.is_paced:
            await self._paced()
        elif self._feed.is_live:
            await self._live()
        else:
            await self._scheduled()
        log.info("feed_finished", feed=self._feed.name, refused=self.core.refused)

    async def beat(self) -> None:
        """Signs of life."""
        while True:
            await self.publisher.send_heartbeat()
            await asyncio.sleep(HEARTBEAT_S)

    # ---- at the data's own pace

    async def _paced(self) -> None:
        settings = self._settings
        slicer = Slicer(self.core, settings.slice_ns(), settles=settings.slices_settle)
        reporters = await asyncio.to_thread(Reporters, self._settings, self._settings.reporters)
        try:
            async for batch in self._feed.batches({}):
                for raw in batch:
                    for finished in slicer.push(raw):
                        await self._release(finished, reporters)
                await asyncio.sleep(0)
            last = slicer.finish()
            if not last:
                raise FeedError(
                    f"The feed {self._feed.name} has no record that could be used.",
                    f"Check its options; refused were {self.core.refused or 'none'}.",
                )
            for finished in last:
                await self._release(finished, reporters)
        finally:
            await asyncio.to_thread(reporters.close)

    async def _release(self, part: Slice, reporters: Reporters) -> None:
        """Publishes what is missing of a slice and waits until all have finished it."""
        await self.publisher.send(sent for sent in part.records if self._resume.is_missing(sent))
        self._slice.set(part.number)
        if part.number < self._resume.slice_begun():
            return  # the slice behind it was begun, so this one had been released
        await self.publisher.flush()
        wait_s = self._settings.reporters_wait_s
        await asyncio.to_thread(reporters.wait, part.number, wait_s, self._shell.stopping.is_set)

    # ---- recorded, in real time

    async def _scheduled(self) -> None:
        second_ns = (clock.wall_ns() // SECOND_NS + 1) * SECOND_NS
        schedule = Schedule(second_ns, self._settings.rate, self._settings.speed)
        async for batch in self._feed.batches({}):
            for raw in batch:
                judged = self.core.judge(raw, None)
                if not self._resume.is_missing(self.core.sent(judged, 0)):
                    continue
                due_ns = schedule.due_ns(raw.ts_event_ns)
                while second_ns <= due_ns:
                    await _until(second_ns, self.publisher)
                    await self._second(second_ns, second_ns)
                    second_ns += SECOND_NS
                await _until(due_ns, self.publisher)
                await self.publisher.send((self.core.sent(judged, due_ns, due_ns),))
            self.publisher.poll()
        await _until(second_ns, self.publisher)
        await self._second(second_ns, second_ns, is_final=True)

    # ---- live

    async def _live(self) -> None:
        seconds = asyncio.create_task(self._seconds())
        try:
            await self._stream(self._seen, seconds)
        finally:
            seconds.cancel()
            await asyncio.wait({seconds})

    async def _stream(self, seen: dict[str, LastSeen], seconds: asyncio.Task[None]) -> None:
        async for batch in self._feed.batches(seen):
            now_ns = clock.wall_ns()
            judged = [self.core.judge(raw, now_ns) for raw in batch]
            await self.publisher.send(self.core.sent(one, now_ns) for one in judged)
            self.publisher.poll()
            if seconds.done():
                seconds.result()

    async def _seconds(self) -> None:
        """A watermark a second, a little behind the clock."""
        allowed_ns = int(self._settings.lateness_allowed_s * SECOND_NS)
        while True:
            second_ns = (clock.wall_ns() // SECOND_NS + 1) * SECOND_NS
            await _until(second_ns, self.publisher)
            await self._second(second_ns, second_ns - allowed_ns)

    async def _second(self, second_ns: int, ts_ns: int, is_final: bool = False) -> None:
        number = second_ns // SECOND_NS
        marks = self.core.watermarks(number, ts_ns, second_ns, False, is_final)
        await self.publisher.send(sent for sent in marks if self._resume.is_missing(sent))
        self._slice.set(number)
        self.publisher.poll()


async def _until_set(event: asyncio.Event) -> None:
    await event.wait()


async def _until(due_ns: int, publisher: Publisher) -> None:
    """Waits for a moment of the wall clock; serves deliveries meanwhile."""
    while (left_ns := due_ns - clock.wall_ns()) > 0:
        publisher.poll()
        await asyncio.sleep(left_ns / SECOND_NS)
