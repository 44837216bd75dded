"""How a shard's sender begins: whether PostgreSQL and Kafka tell one story, and where to go on.

A database that was lost is rebuilt from Kafka: whatever was commanded may have left, so it is asked
after and never sent. Where Kafka has lost what the database knows, nothing may be sent at all.
"""

from __future__ import annotations

from tapeline.contracts import topics
from tapeline.contracts.orders import OrderUpdate, VenueCommand
from tapeline.execution.intents.errors import IntentsLost
from tapeline.execution.intents.store import IntentStore, Page
from tapeline.execution.order_table import TERMINAL
from tapeline.execution.outside.sender import Start
from tapeline.runtime import clock
from tapeline.runtime.codec import Decoder
from tapeline.runtime.log_reader import LogReader
from tapeline.runtime.telemetry import get_logger

log = get_logger(__name__)


def begin(store: IntentStore, reader: LogReader, shard: int) -> Start:
    """Takes the shard over and says where to go on; raises IntentsLost, IntentsAway."""
    owner = store.claim(shard)
    place = (topics.ORDER_UPDATES, shard)
    first, end = reader.starts([place])[place], reader.ends([place])[place]
    if owner.intent_count != owner.found_count:
        raise IntentsLost(
            f"Of shard {shard}'s {owner.intent_count} intents PostgreSQL holds "
            f"{owner.found_count}: some were deleted.",
            "Restore the database, or empty it for this run: then all is rebuilt from Kafka.",
        )
    if owner.next_offset > end:
        raise IntentsLost(
            f"PostgreSQL knows order-updates {shard} up to offset {owner.next_offset}, Kafka holds "
            f"{end}: the topic was deleted.",
            "Restore the topic, or compare with the venue and begin a new run.",
        )
    is_new = owner.epoch == 1
    if first > owner.next_offset and not is_new:
        raise IntentsLost(
            f"Order-updates {shard} begins at offset {first}, behind {owner.next_offset}, which "
            "was not read yet.",
            "Keep the topic's retention above the longest time without a sender.",
        )
    next_offset = owner.next_offset
    if is_new:
        next_offset = _rebuild(store, reader, (shard, owner.epoch), (first, end))
    return Start(
        shard=shard, epoch=owner.epoch, next_offset=next_offset, intents=store.not_ended(shard)
    )


def _rebuild(
    store: IntentStore, reader: LogReader, owner: tuple[int, int], span: tuple[int, int]
) -> int:
    """Writes an intent for every command that Kafka holds: each of them may have left."""
    place, (first, end) = (topics.ORDER_UPDATES, owner[0]), span
    decoder = Decoder(topics.TOPICS[topics.ORDER_UPDATES].records)
    commands: list[VenueCommand] = []
    ended: list[tuple[str, str]] = []
    for raw in reader.read({place: (first, end)})[place]:
        update = decoder.decode(raw.value)
        if not isinstance(update, OrderUpdate):
            continue
        if update.command is not None:
            commands.append(update.command)
        if update.status in TERMINAL:
            ended.append((update.client_order_id, update.approval_id))
    if commands:
        log.warning("intents_rebuilt", shard=owner[0], commands=len(commands))
    store.write(owner, Page(commands=commands, ended=ended, next_offset=end), clock.wall_ns())
    return end
