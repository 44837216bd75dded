"""What a derived stream sends: idempotent, acknowledged by all replicas, within a limit.

aiokafka never gives an idempotent record up while the broker is away, so nothing here waits for it
without a limit; after a limit the producer is thrown away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError as AioKafkaError
from aiokafka.errors import MessageSizeTooLargeError

from tapeline.contracts.system import SliceDone, Watermark
from tapeline.contracts.topics import TOPICS
from tapeline.runtime.bulk import watermark_key
from tapeline.runtime.clients import LOST_S, STOP_S, abandon_batches, cut_off, has_ended
from tapeline.runtime.codec import encode
from tapeline.runtime.core import Output
from tapeline.runtime.ids import content_id
from tapeline.runtime.kafka import ClientLost, aiokafka_config
from tapeline.runtime.settings import ServiceSettings
from tapeline.runtime.telemetry import Metrics
from tapeline.runtime.topology import TopicUnfit

START_S: Final = 20.0
SEND_S: Final = 10.0
REQUEST_MS: Final = 8_000
RETRY_BACKOFF_MS: Final = 5
NO_CORRELATIONS: Final[Mapping[str, str]] = {}


@dataclass(slots=True)
class Sending:
    """Outputs that were handed over."""

    pending: list[asyncio.Future[Any]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    failure: ClientLost | None = None

    def abandon(self) -> None:
        """Waits no longer for what is not acknowledged."""
        for future in self.pending:
            if not future.cancel() and not future.cancelled():
                future.exception()  # looked at: one failure has been told


class Outbox:
    """One idempotent producer. `producer` is the name written into the headers."""

    def __init__(
        self, settings: ServiceSettings, producer: str, metrics: Metrics, linger_ms: int = 0
    ) -> None:
        self._prefix = settings.topic_prefix
        self._run_id = settings.run_id
        self._config = aiokafka_config(settings)
        self._metrics = metrics
        self._linger_ms = linger_ms
        self._name = producer
        self._fixed_headers = (("producer", producer.encode()), ("run_id", self._run_id.encode()))
        self._client: Any = None

    async def start(self) -> Self:
        """Connects; raises ClientLost."""
        self._client = AIOKafkaProducer(
            **self._config,
            client_id=f"{self._prefix}{self._name}",
            acks="all",
            enable_idempotence=True,
            linger_ms=self._linger_ms,
            request_timeout_ms=REQUEST_MS,
            # aiokafka waits that long before it looks again at a partition with a batch in flight:
            # at 50 ms a hop took 50 ms. While the broker is away the stage pauses by itself.
            retry_backoff_ms=RETRY_BACKOFF_MS,
            metadata_max_age_ms=60_000,
        )
        try:
            async with asyncio.timeout(START_S):
                await self._client.start()
        except (AioKafkaError, TimeoutError) as error:
            await self.stop(is_lost=True)
            raise ClientLost.because(f"The producer of {self._name} cannot start", error) from error
        return self

    async def stop(self, is_lost: bool = False) -> None:
        """Ends the producer; one that is lost, or does not answer, is cut off."""
        client, self._client = self._client, None
        if client is None:
            return
        if is_lost:
            abandon_batches(client)
        if not await has_ended(client.stop(), LOST_S if is_lost else STOP_S):
            abandon_batches(client)
            await cut_off([client._sender.sender_task])
            await has_ended(client.client.close())

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop(is_lost=isinstance(error, ClientLost))

    async def send(
        self,
        outputs: Iterable[Output],
        partition: int | None = None,
        correlations: Mapping[str, str] = NO_CORRELATIONS,
    ) -> int:
        """Sends in order and returns, with the number, when all are acknowledged.

        `partition` is for outputs that name none; `correlations` gives the workflow of a cause.
        Raises ClientLost, TopicUnfit, EncodeError.
        """
        return await self.finish(await self.begin(outputs, partition, correlations))

    async def begin(
        self,
        outputs: Iterable[Output],
        partition: int | None = None,
        correlations: Mapping[str, str] = NO_CORRELATIONS,
    ) -> Sending:
        """Hands outputs over, in order; `finish` says when they are acknowledged."""
        assert self._client is not None, "start() first"
        sending = Sending()
        is_handed_over = False
        try:
            async with asyncio.timeout(SEND_S):
                for output in outputs:
                    sending.pending.append(await self._begin(output, partition, correlations))
                    sending.counts[output.topic] = sending.counts.get(output.topic, 0) + 1
            is_handed_over = True
        except MessageSizeTooLargeError:
            raise
        except (AioKafkaError, TimeoutError) as error:
            raise ClientLost.because(f"{self._name} cannot send", error) from error
        finally:
            if not is_handed_over:
                sending.abandon()
        return sending

    async def finish(self, sending: Sending) -> int:
        """Returns their number when all are acknowledged; raises ClientLost, again and again."""
        if sending.failure is not None:
            raise sending.failure
        try:
            async with asyncio.timeout(SEND_S):
                await asyncio.gather(*sending.pending)
        except (AioKafkaError, TimeoutError) as error:
            lost = ClientLost.because(f"{self._name} gets no acknowledgement", error)
            sending.failure = lost
            raise lost from error
        except asyncio.CancelledError:
            # Whoever asks again is not cancelled, and must not take these for acknowledged.
            sending.failure = ClientLost.because(f"{self._name} did not wait for acknowledgement")
            raise
        finally:
            sending.abandon()
        for topic, count in sending.counts.items():
            self._metrics.produced.labels(topic).inc(count)
        return len(sending.pending)

    async def _begin(
        self, output: Output, default: int | None, correlations: Mapping[str, str]
    ) -> asyncio.Future[Any]:
        partition = default if output.partition is None else output.partition
        assert partition is not None, f"an output for {output.topic} names no partition"
        topic = self._prefix + output.topic
        value = encode(output.record)
        headers = [] if TOPICS[output.topic].is_bulk else self._headers(output, correlations)
        known = await self._client.partitions_for(topic)
        if partition not in known:
            raise TopicUnfit(
                f"{self._name} writes to partition {partition} of {topic}, which has {len(known)}.",
                "The shard of an account, or a partition in the settings, is above what exists.",
            )
        future: asyncio.Future[Any] = await self._client.send(
            topic, value=value, key=output.key.encode(), partition=partition, headers=headers
        )
        return future

    def _headers(self, output: Output, correlations: Mapping[str, str]) -> list[tuple[str, bytes]]:
        event_id = output.event_id or self._progress_id(output.record)
        cause = output.causation_id or ""
        workflow = output.correlation_id
        if workflow is None:
            workflow = correlations.get(cause, "") or cause or event_id
        return [
            ("event_id", event_id.encode()),
            ("causation_id", cause.encode()),
            ("correlation_id", workflow.encode()),
            *self._fixed_headers,
        ]

    def _progress_id(self, record: Any) -> str:
        """Id of a record that says how far a source is; all others come with theirs."""
        if isinstance(record, Watermark):
            return content_id(f"{self._run_id}/{watermark_key(record)}")
        assert isinstance(record, SliceDone), f"an output of {self._name} has no event_id"
        return content_id(f"{self._run_id}/SliceDone/{record.reporter}/{record.slice}")
