"""One shard of a money service, free of I/O: order of inputs, step, journal, snapshot, recovery.

The Kafka driver and the replay driver both run this class, and nothing else decides anything.

Errors:
    JournalError   the journal does not follow, or does not fit what the topics hold; the shard
                   halts
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any, Generic, TypeVar, cast

from tapeline.contracts import topics
from tapeline.contracts.system import (
    Consumed,
    ConsumedBatch,
    ConsumedRange,
    RecordVerdict,
    Snapshot,
    Watermark,
)
from tapeline.runtime.batches import LOCAL_DECODER, Pending, local_inputs
from tapeline.runtime.batches import Batch as Batch
from tapeline.runtime.batches import Stamped as Stamped
from tapeline.runtime.codec import Decoder, digest_body, encode, encode_body, schema_of
from tapeline.runtime.core import (
    Context,
    Input,
    MoneyCore,
    Output,
    Skimming,
    TimerFired,
    Undecodable,
)
from tapeline.runtime.envelope import Envelope
from tapeline.runtime.heads import HeadReader, Unread
from tapeline.runtime.ids import derive_id
from tapeline.runtime.intake import Intake
from tapeline.runtime.log import Message, Raw, TopicPartition, values_digest
from tapeline.runtime.ordering import Order
from tapeline.runtime.positions import input_partitions, positions_of, update_digest

State = TypeVar("State")
ReadRange = Callable[[str, int, int, int], Sequence[Raw]]
"""(topic, partition, from_offset, next_offset) -> the committed records in it."""
STEP_HEADER = "step"


class JournalError(Exception):
    """The journal does not follow, or does not fit what the topics hold."""

    remedy = "Do not delete or trim topics of a run that is still needed; see docs/operations."


def identity(record: Any, _body: bytes) -> Any:
    """For services that sign nothing."""
    return record


class Shard(Generic[State]):
    """State and position of one shard, and the rules by which they move."""

    def __init__(
        self,
        core: MoneyCore[State],
        context: Context,
        intake: Intake,
        *,
        build_id: str,
        partitions: Mapping[str, int],
        slot_partition: int,
        sign: Callable[[Any, bytes], Any] = identity,
        signed: frozenset[str] = frozenset(),
    ) -> None:
        self.core = core
        self.context = context
        self.intake = intake
        self.build_id = build_id
        self.slot_partition = slot_partition
        self._envelope = Envelope(context, slot_partition)
        self.state: State = core.initial()
        self.sequence = 0
        self.digest = bytes(32)
        self.output_count = 0
        self.session_ns = 0
        self.last_slice = 0
        self.journal_offset = -1
        self.output_offsets: dict[TopicPartition, int] = {}
        self._order = Order(core.inputs)
        self._heads = {spec.topic: HeadReader(spec.head) for spec in core.inputs if spec.head}
        self.specs = {spec.topic: spec for spec in core.inputs}
        self.positions: dict[TopicPartition, int] = {
            (spec.topic, partition): 0
            for spec in core.inputs
            for partition in input_partitions(spec, context.shard, partitions)
        }
        self.pending = Pending()
        self._sign = sign
        self._signed = signed
        self._output_decoders = {
            name: Decoder(topics.TOPICS[name].records) for name in core.outputs
        }

    # ---- stepping

    def step(
        self, batch: Batch, verdicts: Mapping[TopicPartition, Mapping[int, str]] | None
    ) -> int:
        """Steps a batch and remembers it for the next transaction; returns the number of outputs.

        `verdicts` are the journaled ones when a journal is followed, None when live.
        """
        before = len(self.pending.outputs)
        self.session_ns = batch.session_ns
        inputs = self.ordered(batch, verdicts)
        number = len(self.pending.batches)
        decide, evolve = self.core.decide, self.core.evolve
        for index, event in enumerate(inputs):
            if type(event) is Unread:
                event = inputs[index] = self._read(event, verdicts)
            outputs = decide(self.state, event)
            self.state = evolve(self.state, event)
            # Nearly all inputs say nothing.
            if outputs:
                self._take(outputs, event, number, index)
        timers = self._fire_timer(batch.session_ns, number, len(inputs))
        self._remember(batch, inputs, timers)
        return len(self.pending.outputs) - before

    def _step_one(self, event: Input, batch: int, index: int) -> None:
        outputs = self.core.decide(self.state, event)
        self.state = self.core.evolve(self.state, event)
        self._take(outputs, event, batch, index)

    def _take(self, outputs: Sequence[Output], event: Input, batch: int, index: int) -> None:
        """Notes what an input made the core say, and evolves over it."""
        for number, output in enumerate(outputs):
            body = encode_body(output.record)
            if output.topic not in self.core.outputs:
                # Shared topics are not read back by recovery: nothing may depend on them.
                note = Stamped(output, event, batch, index, number, body, b"")
                self.pending.notes.append(note)
                continue
            recorded = self._as_recorded(output, body)
            self.state = self.core.evolve(self.state, recorded)
            digest = digest_body(recorded.record, body)
            stamped = Stamped(recorded, event, batch, index, number, body, digest)
            self.pending.outputs.append(stamped)

    def _as_recorded(self, output: Output, body: bytes) -> Output:
        """The output as recovery will read it back, so that both evolve the same value."""
        value = schema_of(output.record.AVRO).header + body
        return replace(output, record=self._output_decoders[output.topic].decode(value))

    def _fire_timer(self, session_ns: int, batch: int, index: int) -> list[int]:
        due_ns = self.core.next_due_ns(self.state)
        if due_ns is None or due_ns > session_ns:
            return []
        self._step_one(self._timer_input(session_ns), batch, index)
        return [due_ns]

    def _remember(self, batch: Batch, inputs: list[Input], timers: list[int]) -> None:
        ranges = []
        for place in sorted(batch.records, key=self._order.of):
            records = batch.records[place]
            if records:
                ranges.append(self._range_of(place, records))
        if not ranges and not timers and not batch.slice and not batch.local:
            return
        verdicts = [
            RecordVerdict(
                topic=event.topic,
                partition=event.partition,
                offset=event.offset,
                verdict=event.verdict,
            )
            for event in inputs
            if event.verdict
        ]
        self.pending.batches.append(
            ConsumedBatch(
                session_ns=batch.session_ns,
                timers=tuple(timers),
                slice=batch.slice,
                ranges=tuple(ranges),
                verdicts=tuple(verdicts),
                local=tuple(encode(record) for record in batch.local),
            )
        )
        if batch.slice:
            self.last_slice = batch.slice
            self.pending.slices.append((batch.slice, batch.session_ns, batch.is_final))

    def _range_of(self, place: TopicPartition, records: Sequence[Raw]) -> ConsumedRange:
        # A range starts at the position, not at its first record: transaction markers and aborted
        # records leave gaps.
        start, behind = self.positions[place], records[-1].offset + 1
        if records[0].offset < start:
            raise JournalError(
                f"{place[0]}-{place[1]} offset {records[0].offset} was consumed before "
                f"(position {start})"
            )
        self.positions[place] = behind
        return ConsumedRange(
            topic=place[0],
            partition=place[1],
            from_offset=start,
            next_offset=behind,
            count=len(records),
            digest=values_digest(records),
        )

    # ---- order of inputs

    def ordered(
        self, batch: Batch, verdicts: Mapping[TopicPartition, Mapping[int, str]] | None
    ) -> list[Any]:
        """The batch's inputs in the order in which they are stepped; those with heads are Unread
        until it is their turn."""
        places = sorted(batch.records, key=self._order.of)
        streams: list[list[Any]] = []
        for place in places:
            recorded = None if verdicts is None else verdicts.get(place, {})
            raws = batch.records[place]
            if place[0] in self._heads and not batch.slice:
                streams.append(list(map(self._heads[place[0]].unread, raws)))
                continue
            streams.append(self.intake.inputs_of(place[0], raws, recorded, batch.session_ns))
            self._quarantine(raws, streams[-1])
        local = local_inputs(batch, self.intake.verdict, verdicts)
        if batch.slice:
            keyed = [
                item
                for place, events in zip(places, streams, strict=True)
                for item in zip(self._order.slice_keys(place, batch, events), events, strict=True)
            ]
            keyed.sort(key=itemgetter(0))
            return [*local, *(event for _, event in keyed)]
        if len(places) == 1:
            return [*local, *streams[0]]
        return [*local, *self._order.merged(places, batch, streams)]

    def _read(
        self, unread: Unread, verdicts: Mapping[TopicPartition, Mapping[int, str]] | None
    ) -> Input:
        """The input, whole or, where the core passes it over by what it knows now, its head."""
        raw, head = unread.raw, unread.head
        core = cast("Skimming", self.core)
        taken = None if head is None else core.pass_over(self.state, head, self.session_ns)
        if taken is not None:
            return self.intake.passed_over(raw, taken, self.session_ns)
        recorded = None if verdicts is None else verdicts.get((raw.topic, raw.partition), {})
        event = self.intake.input_of(raw, recorded, self.session_ns)
        self._quarantine([raw], [event])
        return event

    def _quarantine(self, raws: Sequence[Raw], events: Sequence[Input]) -> None:
        for raw, event in zip(raws, events, strict=True):
            if isinstance(event.record, Undecodable):
                message = self._envelope.quarantined(raw, event.record, self.session_ns)
                self.pending.quarantined.append(message)

    # ---- transaction

    def transaction(self, *, with_snapshot: bool, watermark: Watermark | None) -> list[Message]:
        """Everything of one transaction; afterwards nothing is pending. `watermark` is passed on
        besides those of finished slices (the pulse of an unpaced run)."""
        pending = self.settle()
        messages = [self._message(stamped) for stamped in (*pending.outputs, *pending.notes)]
        messages += pending.quarantined
        for number, end_ns, is_final in pending.slices:
            messages += self._envelope.slice_done(
                self.core.watermark_topics, number, end_ns, is_final
            )
        if watermark is not None:
            messages += self._envelope.watermark(self.core.watermark_topics, watermark)
        messages.append(self._journal_message(pending))
        if with_snapshot:
            messages.append(self._snapshot_message())
        return messages

    def settle(self) -> Pending:
        """Moves to the next sequence number and gives what was pending; a replay writes nothing."""
        pending, self.pending = self.pending, Pending()
        self.sequence += 1
        digest = hashlib.sha256(self.digest)
        for stamped in pending.outputs:
            update_digest(digest, stamped.output, stamped.digest)
        self.digest = digest.digest()
        self.output_count += len(pending.outputs)
        return pending

    def committed(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Notes the offsets that the transaction's last records got, per partition."""
        for place, offset in offsets.items():
            if place == (topics.JOURNAL, self.slot_partition):
                self.journal_offset = offset
            elif place[0] in self.core.outputs:
                self.output_offsets[place] = offset + 1

    def _message(self, stamped: Stamped) -> Message:
        output, cause = stamped.output, stamped.cause
        causation = cause.event_id if output.causation_id is None else output.causation_id
        correlation = output.correlation_id
        if correlation is None:
            correlation = cause.correlation_id or cause.event_id.partition("@")[0]
        headers = self._envelope.headers(output.event_id, causation, correlation)
        step = f"{self.sequence}.{stamped.batch}.{stamped.input}.{stamped.index}"
        partition = output.partition
        if partition is None:
            partition = self.context.shard if output.topic in self.core.outputs else 0
        return Message(
            output.topic,
            partition,
            output.key.encode(),
            self._value(stamped),
            (*headers, (STEP_HEADER, step.encode())),
        )

    def _value(self, stamped: Stamped) -> bytes:
        """The record as it leaves: signed and checked."""
        record = stamped.output.record
        signed = self._sign(record, stamped.digest)
        if signed is record:
            return schema_of(record.AVRO).header + stamped.body
        return encode(signed)

    def _journal_message(self, pending: Pending) -> Message:
        record = Consumed(
            service=self.context.service,
            shard=self.context.shard,
            sequence=self.sequence,
            run_id=self.context.run_id,
            build_id=self.build_id,
            batches=tuple(pending.batches),
            output_count=len(pending.outputs),
            output_digest=self.digest,
            ts_init_ns=self.session_ns,
        )
        return self._envelope.own(topics.JOURNAL, self.sequence, record)

    def _snapshot_message(self) -> Message:
        canonical = self.core.dump(self.state)
        record = Snapshot(
            service=self.context.service,
            shard=self.context.shard,
            sequence=self.sequence,
            run_id=self.context.run_id,
            build_id=self.build_id,
            state=zlib.compress(canonical, 1),
            state_digest=hashlib.sha256(canonical).digest(),
            output_digest=self.digest,
            positions=positions_of(self.positions),
            previous_journal_offset=self.journal_offset,
            outputs=positions_of(self.output_offsets),
            ts_init_ns=self.session_ns,
            last_slice=self.last_slice,
        )
        return self._envelope.own(topics.SNAPSHOTS, self.sequence, record)

    # ---- recovery: evolve only

    def restore(self, snapshot: Snapshot) -> None:
        """Takes state and positions from a snapshot, after checking its digest."""
        canonical = zlib.decompress(snapshot.state)
        if hashlib.sha256(canonical).digest() != snapshot.state_digest:
            raise JournalError(
                f"snapshot {snapshot.sequence} of {self.context.instance} is damaged"
            )
        self.state = self.core.load(canonical)
        self.sequence = snapshot.sequence
        self.digest = snapshot.output_digest
        self.session_ns = snapshot.ts_init_ns
        self.journal_offset = snapshot.previous_journal_offset
        self.last_slice = snapshot.last_slice
        for item in snapshot.positions:
            self.positions[item.topic, item.partition] = item.offset
        for item in snapshot.outputs:
            self.output_offsets[item.topic, item.partition] = item.offset

    def own_outputs(self, raws: Iterable[Raw]) -> dict[tuple[int, int, int], list[Output]]:
        """This instance's outputs by (sequence, batch, input), each list in order."""
        found: dict[tuple[int, int, int], list[tuple[int, Output]]] = {}
        for raw in raws:
            step = raw.header(STEP_HEADER)
            if not step or raw.header("producer") != self.context.instance:
                continue
            sequence, batch, index, number = (int(part) for part in step.split("."))
            record = self._output_decoders[raw.topic].decode(raw.value)
            output = Output(
                topic=raw.topic,
                key=raw.key.decode(),
                record=self.unsigned(record),
                event_id=raw.header("event_id"),
            )
            found.setdefault((sequence, batch, index), []).append((number, output))
        return {
            place: [output for _, output in sorted(outputs, key=lambda item: item[0])]
            for place, outputs in found.items()
        }

    def unsigned(self, record: Any) -> Any:
        """A record as the core emitted it: what the shell signs, without the signature."""
        return record.without_mac() if record.AVRO in self._signed else record

    def absorb(
        self,
        consumed: Consumed,
        read: ReadRange,
        outputs: Mapping[tuple[int, int, int], list[Output]],
    ) -> None:
        """Evolves over one journal record: its inputs, and what was said about each."""
        self._expect_next(consumed)
        digest = hashlib.sha256(self.digest)
        for number, journaled in enumerate(consumed.batches):
            batch, verdicts = self.batch_of(journaled, read)
            self.session_ns = batch.session_ns
            inputs = self.ordered(batch, verdicts)
            if journaled.timers:
                inputs.append(self._timer_input(batch.session_ns))
            for index, event in enumerate(inputs):
                if type(event) is Unread:
                    event = self._read(event, verdicts)
                self.state = self.core.evolve(self.state, event)
                for output in outputs.get((consumed.sequence, number, index), ()):
                    self.state = self.core.evolve(self.state, output)
                    update_digest(digest, output, digest_body(output.record))
            self._advance(journaled)
        self.pending = Pending()
        self.sequence = consumed.sequence
        if digest.digest() != consumed.output_digest:
            raise JournalError(
                f"{self.context.instance} journal {consumed.sequence}: the outputs found on the "
                "topics are not those that were written"
            )
        self.digest = consumed.output_digest

    def _timer_input(self, session_ns: int) -> Input:
        event_id = derive_id(self.context.run_id, self.context.instance, str(session_ns), "Timer")
        record = TimerFired(ts_event_ns=session_ns)
        return Input(record=record, topic="", event_id=event_id, session_ns=session_ns)

    def _expect_next(self, consumed: Consumed) -> None:
        if consumed.sequence != self.sequence + 1:
            raise JournalError(
                f"{self.context.instance}: journal record {consumed.sequence} does not follow "
                f"{self.sequence}; two owners wrote, or records are missing"
            )

    def _advance(self, journaled: ConsumedBatch) -> None:
        for item in journaled.ranges:
            self.positions[item.topic, item.partition] = item.next_offset
        self.last_slice = journaled.slice or self.last_slice

    def batch_of(
        self, journaled: ConsumedBatch, read: ReadRange
    ) -> tuple[Batch, dict[TopicPartition, dict[int, str]]]:
        """The inputs of a journaled batch, read again and checked against count and digest."""
        records: dict[TopicPartition, Sequence[Raw]] = {}
        for item in journaled.ranges:
            place = (item.topic, item.partition)
            found = read(item.topic, item.partition, item.from_offset, item.next_offset)
            if len(found) != item.count or values_digest(found) != item.digest:
                raise JournalError(
                    f"{item.topic}-{item.partition} offsets {item.from_offset} to "
                    f"{item.next_offset} hold {len(found)} records, {item.count} were journaled"
                    + (", and others" if len(found) == item.count else "")
                )
            if item.from_offset != self.positions[place]:
                raise JournalError(
                    f"{item.topic}-{item.partition}: the journal jumps from "
                    f"{self.positions[place]} to {item.from_offset}"
                )
            records[place] = found
        verdicts: dict[TopicPartition, dict[int, str]] = {}
        for verdict in journaled.verdicts:
            by_offset = verdicts.setdefault((verdict.topic, verdict.partition), {})
            by_offset[verdict.offset] = verdict.verdict
        local = tuple(LOCAL_DECODER.decode(value) for value in journaled.local)
        return Batch(journaled.session_ns, records, journaled.slice, local=local), verdicts
