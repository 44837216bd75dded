"""The sender: follows the committed order-updates of a process's shards and does what they command.

    1. the core's transaction: OrderUpdate with VenueCommand    (money driver)
    2. the intent row, committed                                (here, intents/store.py)
    3. expiry, control and risk's heartbeat once more           (courier.py, last_check.py)
    4. the request to the venue, outside of any transaction     (courier.py)
    5. the answer, or that there is none, to venue-reports      (reports.py)

A command without a row never left. A row without an answer may have left: the order is UNKNOWN and
is asked after. The position is stored with the rows. On any error the process ends and recovers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as KafkaPlace

from tapeline.contracts import topics
from tapeline.contracts.orders import (
    CommandKind,
    Mode,
    OrderStatus,
    OrderUpdate,
    VenueCommand,
)
from tapeline.execution.admission import Refusal
from tapeline.execution.external_state import is_external
from tapeline.execution.intents.store import Intent, IntentState, Page
from tapeline.execution.order_table import TERMINAL
from tapeline.execution.outside.courier import Courier, Tracked
from tapeline.execution.outside.listener import Listener
from tapeline.execution.outside.watch import ControlUnread
from tapeline.runtime.codec import Decoder
from tapeline.runtime.log import Raw
from tapeline.runtime.log_reader import raw_of
from tapeline.runtime.telemetry import get_logger

FETCH_MAX: Final = 500
FETCH_S: Final = 0.05
LOOK_S: Final = 0.25
"""How often control and config are looked at while nothing is sent."""
GRACE_S: Final = 3.0
GRACE_STEP_S: Final = 0.05
Line: TypeAlias = tuple[int, OrderUpdate, VenueCommand | None]
"""offset, update, and its command where it leaves"""
log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where a shard's sender begins."""

    shard: int
    epoch: int
    next_offset: int
    intents: Sequence[Intent]
    """that have not ended"""


@dataclass(kw_only=True)
class Sender:
    """All shards of a process, in one event loop."""

    courier: Courier
    config: Mapping[str, Any]
    """of confluent-kafka clients"""
    prefix: str
    mode: str
    poll_s: float
    starts: Sequence[Start]
    _listening: dict[str, str] = field(default_factory=dict)
    _pages: dict[int, asyncio.Queue[Line]] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _decoder: Decoder = field(
        default_factory=lambda: Decoder(topics.TOPICS[topics.ORDER_UPDATES].records)
    )

    async def run(self, stopping: asyncio.Event) -> None:
        """Until `stopping` is set; raises what ends the process."""
        async with asyncio.TaskGroup() as group:
            self._go(group, self._look(group))
            for start in self.starts:
                self._pages[start.shard] = asyncio.Queue()
                self._go(group, self._write(group, start))
                for intent in start.intents:
                    self._resume(group, start.shard, intent)
            self._go(group, self._follow(group))
            await stopping.wait()
            await self._finish()

    async def _finish(self) -> None:
        """Lets requests that are on their way come back, then ends everything."""
        for _ in range(round(GRACE_S / GRACE_STEP_S)):
            if not self.courier.posting:
                break
            await asyncio.sleep(GRACE_STEP_S)
        for task in list(self._tasks):
            task.cancel()

    def _go(self, group: asyncio.TaskGroup, work: Coroutine[Any, Any, None]) -> None:
        task = group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ---- start

    def _resume(self, group: asyncio.TaskGroup, shard: int, intent: Intent) -> None:
        """Takes up a command of an earlier process: by asking, never by sending. A shadow run has
        sent nothing: what became of the order is said again."""
        command = intent.command
        if command.kind is not CommandKind.SUBMIT:
            self._go(group, self.courier.change(command, shard))
            return
        one = Tracked(
            command=command,
            shard=shard,
            state=intent.state,
            written_ns=intent.written_ns,
            has_lived=intent.state is IntentState.ANSWERED,
        )
        self.courier.tracked[one.order_id] = one
        if self.mode == Mode.SHADOW.value:
            self._go(group, self.courier.send(one, None))
        elif intent.state is IntentState.OPEN:
            self._go(group, self._ask_after(one))
        else:
            one.settled.set()

    async def _ask_after(self, one: Tracked) -> None:
        await self.courier.heard(one, [self.courier.silence(one, "sent by an earlier process")])
        await self.courier.resolve(one)

    # ---- following the committed commands

    async def _follow(self, group: asyncio.TaskGroup) -> None:
        consumer = Consumer(
            {
                **self.config,
                "group.id": f"{self.prefix}execution-sender",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 20,
            }
        )
        topic = self.prefix + topics.ORDER_UPDATES
        consumer.assign([KafkaPlace(topic, one.shard, one.next_offset) for one in self.starts])
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, thread_name_prefix="follow") as thread:
            while True:
                messages = await loop.run_in_executor(thread, consumer.consume, FETCH_MAX, FETCH_S)
                for message in messages:
                    if message.error() is None:
                        self._take(group, raw_of(message, self.prefix))

    def _take(self, group: asyncio.TaskGroup, raw: Raw) -> None:
        """One update: changes leave at once, orders when their intent is committed."""
        update = self._decoder.decode(raw.value)
        if not isinstance(update, OrderUpdate):
            return
        shard, command = raw.partition, update.command
        if command is not None and not self._leaves(command):
            command = None
        if command is not None and command.kind is not CommandKind.SUBMIT:
            self._go(group, self.courier.change(command, shard))
        elif command is not None:
            one = Tracked(command=command, shard=shard, written_ns=command.ts_event_ns)
            self.courier.tracked.setdefault(one.order_id, one)
        if command is not None or update.status in TERMINAL:
            self._pages[shard].put_nowait((raw.offset, update, command))
        self._hear(group, update)

    def _leaves(self, command: VenueCommand) -> bool:
        venue = self.courier.watching.world.venues.get(command.venue)
        # A venue that config does not name yet is treated as one outside: its orders are refused.
        return venue is None or is_external(self.mode, venue.adapter)

    def _hear(self, group: asyncio.TaskGroup, update: OrderUpdate) -> None:
        """What the core has made of an order: an end, or a doubt."""
        one = self.courier.tracked.get(update.client_order_id)
        if one is None or update.approval_id != one.command.approved.approval.approval_id:
            return
        if update.status in TERMINAL:
            self.courier.ended(one.order_id)
        elif update.status is OrderStatus.UNKNOWN and self.courier.doubted(one):
            self._go(group, self.courier.resolve(one))

    async def _write(self, group: asyncio.TaskGroup, start: Start) -> None:
        """Step two, for one shard: all that has come since the last time in one transaction."""
        pages = self._pages[start.shard]
        while True:
            lines = [await pages.get()]
            while not pages.empty():
                lines.append(pages.get_nowait())
            page = Page(
                commands=[command for _, _, command in lines if command is not None],
                ended=[
                    (update.client_order_id, update.approval_id)
                    for _, update, _ in lines
                    if update.status in TERMINAL
                ],
                next_offset=lines[-1][0] + 1,
            )
            owner = (start.shard, start.epoch)
            new, is_unsure = await self.courier.intents.write(owner, page)
            for _, update, command in lines:
                if command is not None and command.kind is CommandKind.SUBMIT:
                    self._send(group, (update, command), (command.command_id in new, is_unsure))

    def _send(
        self,
        group: asyncio.TaskGroup,
        said: tuple[OrderUpdate, VenueCommand],
        written: tuple[bool, bool],
    ) -> None:
        update, command = said
        is_new, is_unsure = written
        one = self.courier.tracked.get(command.client_order_id)
        if one is None or one.command.command_id != command.command_id:
            log.error("command_without_order", command=command.command_id)
            return
        refusal = self.courier.check.of_command(update, command)
        if not is_new and not is_unsure:
            log.error("command_repeated", command=command.command_id)
            return
        if not is_new:
            # The database was lost while it took the row. This process has sent nothing, and no
            # other may: the order ends here.
            refusal = Refusal(code="EXECUTION_INTENT_UNSURE", reason="The database went away.")
        self._go(group, self.courier.send(one, refusal))

    # ---- listening

    async def _look(self, group: asyncio.TaskGroup) -> None:
        """Keeps up with control and config, and listens to each account once it is known."""
        while True:
            try:
                world = await self.courier.watching.caught_up()
            except ControlUnread as error:
                log.warning("control_unread", error=str(error))
                world = self.courier.watching.world
            shards = {one.shard for one in self.starts}
            for name, account in world.accounts.items():
                venue = world.venues.get(account.venue)
                is_ours = account.shard in shards and account.mode is Mode.LIVE
                if (
                    self.mode == Mode.LIVE.value
                    and is_ours
                    and venue is not None
                    and is_external(self.mode, venue.adapter)
                    and name not in self._listening
                ):
                    self._listening[name] = account.venue
                    self._listen(group, name, (account.venue, account.shard))
            await asyncio.sleep(LOOK_S)

    def _listen(self, group: asyncio.TaskGroup, account_id: str, place: tuple[str, int]) -> None:
        venue, shard = place
        listener = Listener(
            courier=self.courier,
            account_id=account_id,
            venue=venue,
            shard=shard,
            poll_s=self.poll_s,
        )
        self._go(group, listener.stream())
        self._go(group, listener.poll())
