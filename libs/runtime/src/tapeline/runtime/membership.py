"""One consumer group member: what it is assigned, what is committed, and what it may commit.

aiokafka's consumer has three gaps that matter here, and this module is where they are closed:
- the fetcher runs before `on_partitions_assigned`, from positions it looked up itself. So the
  partitions are paused at once, positions are set by us, and nothing is read before they are;
- `commit` sends whatever generation the member has by then, also for partitions it has lost. So a
  commit names the assignment it belongs to and is refused when that is over;
- `committed` does not give the metadata.
The private members used for this are those of aiokafka 0.14, to which the package is pinned.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import (
    IllegalGenerationError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from aiokafka.errors import KafkaError as AioKafkaError
from aiokafka.structs import OffsetAndMetadata

from tapeline.runtime.clients import LOST_S, STOP_S, cut_off, has_ended
from tapeline.runtime.exits import Fenced
from tapeline.runtime.kafka import ClientLost, aiokafka_config, group_id, topic_name
from tapeline.runtime.settings import ServiceSettings
from tapeline.runtime.stage_intake import Consumed
from tapeline.runtime.telemetry import get_logger

START_S: Final = 20.0
ANSWER_S: Final = 10.0
ENDS_S: Final = 6.0
"""asked every two seconds: together shorter than the watchdog's patience, so that a broker that is
away is noticed as that"""
REVOKE_S: Final = 5.0
JOIN_S: Final = 45.0
SESSION_MS: Final = 6_000
log = get_logger(__name__)


class AssignmentOver(Exception):
    """The partitions may belong to another member by now; what was done for them is not ours."""


class Membership(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """A consumer in the group of one stage."""

    def __init__(
        self,
        settings: ServiceSettings,
        name: str,
        input_topics: Sequence[str],
        before_revoke: Callable[[], Awaitable[None]],
    ) -> None:
        """`before_revoke` finishes and commits what is under way; it has REVOKE_S for that."""
        self._settings = settings
        self._name = name
        self._topics = [topic_name(settings, topic) for topic in input_topics]
        self._before_revoke = before_revoke
        self._client: Any = None
        self._joining_since: float | None = None
        self._instance = settings.instance_id and f"{name.replace('/', '.')}-{settings.instance_id}"
        self._is_fenced = False
        self.epoch = 0
        """changes with every loss and gain of partitions"""
        self.assigned: frozenset[TopicPartition] = frozenset()
        self.is_new = False
        """the assignment has not been taken over yet"""

    async def start(self) -> None:
        """Connects and joins in the background; raises ClientLost."""
        # The assignor keeps its state in its class: stages of one process need one each.
        assignor = type("Sticky", (StickyPartitionAssignor,), {})
        self._client = AIOKafkaConsumer(
            **aiokafka_config(self._settings),
            client_id=f"{self._settings.topic_prefix}{self._name}",
            group_id=group_id(self._settings, self._name),
            group_instance_id=self._instance or None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            partition_assignment_strategy=(assignor,),
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=1_500,
            rebalance_timeout_ms=15_000,
            request_timeout_ms=20_000,
            fetch_max_wait_ms=50,
            retry_backoff_ms=50,
            metadata_max_age_ms=60_000,
        )
        self._joining_since = asyncio.get_running_loop().time()
        self._client.subscribe(self._topics, listener=self)
        try:
            async with asyncio.timeout(START_S):
                await self._client.start()
        except (AioKafkaError, TimeoutError) as error:
            await self.stop(is_lost=True)
            raise ClientLost.because(f"The consumer of {self._name} cannot start", error) from error

    async def stop(self, is_lost: bool = False) -> None:
        """Leaves the group; a client that is lost, or does not answer, is cut off."""
        client, self._client = self._client, None
        if client is None:
            return
        self.epoch += 1
        if await has_ended(client.stop(), LOST_S if is_lost else STOP_S):
            return
        names = ("_coordination_task", "_heartbeat_task", "_commit_refresh_task")
        tasks = [getattr(client._coordinator, name, None) for name in names]
        await cut_off([*tasks, getattr(client._fetcher, "_fetch_task", None)])
        await has_ended(client._client.close())

    async def on_partitions_revoked(self, revoked: frozenset[TopicPartition]) -> None:
        """Called by aiokafka before it joins anew; the member keeps its partitions until then."""
        self._joining_since = asyncio.get_running_loop().time()
        if self._instance and self.assigned and self._client._coordinator.generation < 0:
            # The group does not know us any more: a successor has taken our name, or our session
            # is over. To join again would throw the successor out.
            self._is_fenced = True
            await asyncio.sleep(JOIN_S)
            return
        if self.assigned:
            try:
                async with asyncio.timeout(REVOKE_S):
                    await self._before_revoke()
            except (AssignmentOver, ClientLost, TimeoutError) as error:
                log.warning("uncommitted_at_rebalance", stage=self._name, reason=str(error))
        self.epoch += 1
        self.assigned = frozenset()

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Called by aiokafka when its fetcher already runs: nothing may come out of it yet."""
        if self._client is None:
            return
        self._client.pause(*assigned)
        self.epoch += 1
        self.assigned = frozenset(assigned)
        self.is_new = True
        self._joining_since = None

    def check_joined(self) -> None:
        """Raises Fenced when the group has put us out, and ClientLost when joining takes longer
        than any rebalance may."""
        if self._is_fenced:
            raise self._fenced()
        since = self._joining_since
        if since is not None and asyncio.get_running_loop().time() - since > JOIN_S:
            raise ClientLost.because(f"{self._name} got no assignment within {JOIN_S:.0f} s")

    def _fenced(self) -> Fenced:
        return Fenced(
            f"{self._name} {self._instance} has been put out of its group.",
            "It was silent for too long, or another process runs under its instance id.",
        )

    async def fetch(self, records_max: int) -> dict[TopicPartition, list[Consumed]]:
        """Records of the partitions that are not paused; while the group rebalances it waits.

        Raises OffsetOutOfRangeError, Fenced, ClientLost.
        """
        try:
            found: dict[TopicPartition, list[Consumed]] = await self._client.getmany(
                timeout_ms=200, max_records=records_max
            )
        except NoOffsetForPartitionError:
            return {}  # aiokafka looked before we have set the positions
        except OffsetOutOfRangeError:
            raise
        except AioKafkaError as error:
            # FENCED_INSTANCE_ID, which a join under a name taken over gets, is unknown to aiokafka.
            if self._instance and "UnknownError" in str(error):
                raise self._fenced() from error
            raise ClientLost.because(f"{self._name} cannot read", error) from error
        return found

    def resume_at(self, positions: Mapping[TopicPartition, int]) -> None:
        """Sets the positions; from here on records come."""
        for place, position in positions.items():
            self._client.seek(place, position)
        self._client.resume(*positions)
        self.is_new = False

    async def committed(
        self, places: Sequence[TopicPartition]
    ) -> dict[TopicPartition, tuple[int, str]]:
        """Committed offsets with their metadata, from the broker; without those never committed."""
        try:
            async with asyncio.timeout(ANSWER_S):
                found = await self._client._coordinator.fetch_committed_offsets(list(places))
        except (AioKafkaError, TimeoutError) as error:
            raise ClientLost.because(f"Positions of {self._name} are not told", error) from error
        return {place: (int(kept.offset), str(kept.metadata)) for place, kept in found.items()}

    async def commit(self, offsets: Mapping[TopicPartition, tuple[int, str]], epoch: int) -> None:
        """Commits what belongs to an assignment; raises AssignmentOver or ClientLost."""
        coordinator = self._client._coordinator
        generation = coordinator.generation
        kept = {place: OffsetAndMetadata(*offset) for place, offset in offsets.items()}
        try:
            async with asyncio.timeout(ANSWER_S):
                while True:
                    await coordinator.ensure_coordinator_known()
                    if self.epoch != epoch or not 0 <= generation == coordinator.generation:
                        raise AssignmentOver(f"{self._name} has been rebalanced")
                    # The request is made before this call first waits, so with this generation.
                    if await self._commits(coordinator, kept):
                        return
                    await asyncio.sleep(0.05)
        except (AioKafkaError, TimeoutError) as error:
            raise ClientLost.because(f"{self._name} cannot commit", error) from error

    async def _commits(
        self, coordinator: Any, offsets: Mapping[TopicPartition, OffsetAndMetadata]
    ) -> bool:
        try:
            await coordinator._do_commit_offsets(None, offsets)
        except (IllegalGenerationError, UnknownMemberIdError, RebalanceInProgressError) as error:
            raise AssignmentOver(f"{self._name} has been rebalanced") from error
        except AioKafkaError as error:
            if not error.retriable:
                raise
            return False
        return True

    async def ends(self) -> dict[TopicPartition, int]:
        """Offsets behind the last decided record of each assigned partition."""
        places = list(self.assigned)
        if not places:
            return {}
        try:
            async with asyncio.timeout(ENDS_S):
                found: dict[TopicPartition, int] = await self._client.end_offsets(places)
        except (AioKafkaError, TimeoutError) as error:
            raise ClientLost.because(f"The ends of {self._name} are not answered", error) from error
        return found

    def position(self, place: TopicPartition) -> int:
        """Where reading stands, transaction markers included; -1 where nothing is known."""
        subscription = self._client._subscription.subscription if self._client else None
        assignment = subscription.assignment if subscription is not None else None
        state = assignment.state_value(place) if assignment is not None else None
        return int(state.position) if state is not None and state.has_valid_position else -1
