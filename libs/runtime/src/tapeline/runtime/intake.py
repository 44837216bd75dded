"""From raw records to a core's inputs: decoding, ids, verdicts, quarantine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from operator import attrgetter
from typing import Any

from tapeline.contracts import topics
from tapeline.runtime.bulk import BulkInput, bulk_input, bulk_inputs
from tapeline.runtime.codec import DecodeError, Decoder
from tapeline.runtime.columns import MANY, ColumnDecoder
from tapeline.runtime.core import Input, Undecodable
from tapeline.runtime.ids import content_id
from tapeline.runtime.log import Raw

Verdict = Callable[[str, Any], str]
"""(topic, record) -> stable code of what is wrong with the record, or empty."""
Resolve = Callable[[int], dict[str, Any] | None]
"""Fingerprint -> writer schema, where it is not one of ours."""


_HEADERS = attrgetter("headers")


class CriticalUndecodable(Exception):
    """A record of our own money path, or of control or config, cannot be decoded."""

    remedy = "Find out who wrote it; the shard must not go on past a record it cannot read."


def no_verdict(_topic: str, _record: Any) -> str:
    """For services that examine nothing on the way in."""
    return ""


class Intake:
    """Decodes the records of a set of topics into inputs."""

    def __init__(
        self,
        names: tuple[str, ...],
        *,
        critical: frozenset[str] = frozenset(),
        verdict: Verdict = no_verdict,
        resolve: Resolve | None = None,
    ) -> None:
        self._decoders = {
            name: Decoder(
                topics.TOPICS[name].records,
                resolve,
                is_canonical=not topics.TOPICS[name].is_bulk,
            )
            for name in names
        }
        self._columns = {
            name: ColumnDecoder(topics.TOPICS[name].records, self._decoders[name])
            for name in names
            if topics.TOPICS[name].is_bulk
        }
        self._critical = critical
        self.verdict = verdict

    def input_of(
        self, raw: Raw, recorded: Mapping[int, str] | None = None, session_ns: int = 0
    ) -> Input:
        """The input for a record.

        `recorded` gives verdicts by offset when a journal is followed: what was found then holds,
        whatever keys are at hand now.
        """
        try:
            record = self._decoders[raw.topic].decode(raw.value)
        except DecodeError as error:
            return self._undecodable(raw, error, session_ns)
        return self._found(raw, record, self._verdict(raw, record, recorded), session_ns)

    def inputs_of(
        self,
        topic: str,
        raws: Sequence[Raw],
        recorded: Mapping[int, str] | None = None,
        session_ns: int = 0,
    ) -> list[Input]:
        """The inputs for records of one partition: those that `input_of` gives one by one."""
        columns = self._columns.get(topic)
        if columns is None or len(raws) < MANY:
            return [self.input_of(raw, recorded, session_ns) for raw in raws]
        records = columns.decode_all([raw.value for raw in raws])
        if any(map(_HEADERS, raws)) or not all(map(_has_key, set(map(type, records)))):
            return [
                self._undecodable(raw, record, session_ns)
                if isinstance(record, DecodeError)
                else self._found(raw, record, self._verdict(raw, record, recorded), session_ns)
                for raw, record in zip(raws, records, strict=True)
            ]
        if recorded is None:
            verdicts = list(map(self.verdict, repeat(topic), records))
        else:
            verdicts = [recorded.get(raw.offset, "") for raw in raws]
        return list(bulk_inputs(records, topic, raws, repeat(session_ns), verdicts))

    def passed_over(self, raw: Raw, taken: Any, session_ns: int) -> Input:
        """The input for a record of which only the head is read; `taken` stands for it."""
        return self._found(raw, taken, "", session_ns)

    def _verdict(self, raw: Raw, record: Any, recorded: Mapping[int, str] | None) -> str:
        if recorded is None:
            return self.verdict(raw.topic, record)
        return recorded.get(raw.offset, "")

    def _found(self, raw: Raw, record: Any, verdict: str, session_ns: int) -> Input:
        if not raw.headers and hasattr(record, "content_key"):
            return bulk_input(record, raw.topic, raw, session_ns, verdict)
        event_id = raw.header("event_id")
        kind = Input if event_id or not hasattr(record, "content_key") else BulkInput
        return kind(
            record=record,
            topic=raw.topic,
            partition=raw.partition,
            offset=raw.offset,
            event_id=event_id,
            correlation_id=raw.header("correlation_id"),
            session_ns=session_ns,
            verdict=verdict,
        )

    def _undecodable(self, raw: Raw, error: DecodeError, session_ns: int) -> Input:
        where = f"{raw.topic}-{raw.partition} offset {raw.offset}"
        if raw.topic in self._critical:
            raise CriticalUndecodable(f"{where}: {error}") from error
        key = raw.key.decode(errors="replace") if raw.key else ""
        return Input(
            record=Undecodable(key=key, code=error.code, reason=f"{where}: {error.reason}"),
            topic=raw.topic,
            partition=raw.partition,
            offset=raw.offset,
            event_id=raw.header("event_id") or content_id(f"{where}"),
            correlation_id=raw.header("correlation_id"),
            session_ns=session_ns,
            verdict=error.code,
        )


def _has_key(kind: Any) -> bool:
    """Whether records of a type are identified by their content."""
    return hasattr(kind, "content_key")
