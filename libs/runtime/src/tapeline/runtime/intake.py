"""From raw records to a core's inputs: decoding, ids, verdicts, quarantine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tapeline.contracts import topics
from tapeline.runtime.codec import DecodeError, Decoder
from tapeline.runtime.core import Input, Undecodable
from tapeline.runtime.ids import content_id
from tapeline.runtime.log import Raw

Verdict = Callable[[str, Any], str]
"""(topic, record) -> stable code of what is wrong with the record, or empty."""
Resolve = Callable[[int], dict[str, Any] | None]
"""Fingerprint -> writer schema, where it is not one of ours."""


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
        self._critical = critical
        self._verdict = verdict

    def input_of(self, raw: Raw, recorded: Mapping[int, str] | None = None) -> Input:
        """The input for a record, its session time still open.

        `recorded` gives verdicts by offset when a journal is followed: what was found then holds,
        whatever keys are at hand now.
        """
        try:
            record = self._decoders[raw.topic].decode(raw.value)
        except DecodeError as error:
            return self._undecodable(raw, error)
        if recorded is None:
            verdict = self._verdict(raw.topic, record)
        else:
            verdict = recorded.get(raw.offset, "")
        event_id = raw.header("event_id") or self.bulk_id(raw, record)
        return Input(
            record=record,
            topic=raw.topic,
            partition=raw.partition,
            offset=raw.offset,
            event_id=event_id,
            correlation_id=raw.header("correlation_id"),
            verdict=verdict,
        )

    def _undecodable(self, raw: Raw, error: DecodeError) -> Input:
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
            verdict=error.code,
        )

    @staticmethod
    def bulk_id(raw: Raw, record: Any) -> str:
        """Id of a record without headers: its content's, with the place where it is stored."""
        content_key = getattr(record, "content_key", None)
        if content_key is None:
            return ""
        return f"{content_id(content_key())}@{raw.topic}/{raw.partition}/{raw.offset}"
