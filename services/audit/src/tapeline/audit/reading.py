"""What a record says: its ids, its type and its body as JSON. Pure but for the schema look-up.

A record that cannot be decoded is read as well: type UNDECODABLE, with the code and reason.

The body is canonical JSON (sorted names, no spaces): decimals and 128-bit figures as text, times as
integers, long byte strings by their SHA-256. Text is kept as it is, but for NUL, which PostgreSQL
cannot hold; the raw bytes beside it are whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from typing import Any, Final

import msgspec

from tapeline.audit.chain import Record, parts_digest, unpack_headers
from tapeline.contracts.orders import ApprovedOrder
from tapeline.contracts.system import Watermark
from tapeline.contracts.topics import TOPICS
from tapeline.runtime.codec import DecodeError, Decoder, schema_of

UNDECODABLE: Final = "undecodable"
TOMBSTONE: Final = "tombstone"
"""a compacted topic's record without a value"""
BYTES_SHOWN_MAX: Final = 64
FLOAT_MAX: Final = 1e15
"""from here on PostgreSQL would write a float without its point, and it would come back an int"""

Resolve = Callable[[int], dict[str, Any] | None]
_NUL: Final = "\u2400"
_encoder: Final = msgspec.json.Encoder(order="deterministic")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The columns that are derived from a record."""

    record_type: str
    """Avro full name, UNDECODABLE or TOMBSTONE"""
    event_id: str | None
    causation_id: str | None
    correlation_id: str | None
    producer: str | None
    decision_id: str | None
    """of the decision it is, answers or follows from"""
    client_order_id: str | None
    """of the order it is about"""
    body: str
    """canonical JSON"""


def reading_digest(reading: Any, is_duplicate: bool, body: str) -> bytes:
    """Covers everything that is shown of a record; `reading` is a Reading or a row with its names.

    `body` is canonical JSON: pass what comes back from PostgreSQL through `canonical`.
    """
    return parts_digest(
        (
            reading.record_type,
            reading.event_id,
            reading.causation_id,
            reading.correlation_id,
            reading.producer,
            reading.decision_id,
            reading.client_order_id,
            is_duplicate,
            body,
        )
    )


def canonical(text: str) -> str:
    """A body as it was before PostgreSQL laid it out in its own way."""
    return _encoder.encode(msgspec.json.decode(text)).decode()


class Reader:
    """Reads records of all topics."""

    def __init__(self, resolve: Resolve | None = None) -> None:
        self._decoders: Mapping[str, Decoder] = {
            topic.name: Decoder(topic.records, resolve) for topic in TOPICS.values()
        }

    def read(self, record: Record) -> Reading:
        """What the record says."""
        headers = _texts(record.headers)
        decision_id = client_order_id = None
        if record.value is None:
            record_type, body = TOMBSTONE, "null"
        else:
            try:
                decoded = self._decoders[record.topic].decode(record.value)
            except DecodeError as error:
                record_type, body = UNDECODABLE, _undecodable(error)
            else:
                record_type, body = decoded.AVRO, body_of(decoded)
                decision_id, client_order_id = _ids(decoded)
        return Reading(
            record_type=record_type,
            event_id=headers.get("event_id"),
            causation_id=headers.get("causation_id"),
            correlation_id=headers.get("correlation_id"),
            producer=headers.get("producer"),
            decision_id=decision_id,
            client_order_id=client_order_id,
            body=body,
        )

    def is_final_watermark(self, record: Record) -> bool:
        """True for the last record that a source sends on a partition."""
        value = record.value
        if value is None or not value.startswith(schema_of(Watermark.AVRO).header):
            return False
        try:
            decoded = self._decoders[record.topic].decode(value)
        except DecodeError:
            return False
        return isinstance(decoded, Watermark) and decoded.is_final


def body_of(decoded: Any) -> str:
    """A record as canonical JSON."""
    return _encoder.encode(_plain(decoded.to_avro())).decode()


def _plain(value: Any) -> Any:
    """A value of an Avro datum as JSON has it."""
    convert = _CONVERSIONS.get(type(value))
    return value if convert is None else convert(value)


def _plain_dict(value: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(_plain(name)): _plain(item) for name, item in value.items()}


def _plain_list(value: Iterable[Any]) -> list[Any]:
    return [_plain(item) for item in value]


def _plain_text(value: str) -> str:
    return value.replace("\0", _NUL) if "\0" in value else value


def _plain_float(value: float) -> float | str:
    # Adding 0.0 makes -0.0 the zero that PostgreSQL keeps.
    return value + 0.0 if abs(value) < FLOAT_MAX else repr(value)


def _decimal_text(value: Decimal) -> str:
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _bytes_text(value: bytes) -> str:
    if len(value) <= BYTES_SHOWN_MAX:
        return value.hex()
    return f"sha256:{sha256(value).hexdigest()} ({len(value)} bytes)"


_CONVERSIONS: Final[Mapping[type, Callable[[Any], Any]]] = {
    str: _plain_text,
    float: _plain_float,
    Decimal: _decimal_text,
    bytes: _bytes_text,
    dict: _plain_dict,
    list: _plain_list,
    tuple: _plain_list,
}
"""int, bool and None stay as they are"""


def _undecodable(error: DecodeError) -> str:
    return _encoder.encode({"code": error.code, "reason": str(_plain(error.reason))}).decode()


def _texts(packed: bytes) -> dict[str, str | None]:
    """Headers as text; empty is None, the first of a name wins."""
    found: dict[str, str | None] = {}
    for name, value in unpack_headers(packed):
        text = (value or b"").decode(errors="replace").replace("\0", _NUL)
        found.setdefault(name, text or None)
    return found


def _ids(decoded: Any) -> tuple[str | None, str | None]:
    """Decision and order that a record belongs to."""
    if isinstance(decoded, ApprovedOrder):
        return _column(decoded.approval.decision_id), _column(decoded.order.client_order_id)
    return (
        _column(getattr(decoded, "decision_id", None)),
        _column(getattr(decoded, "client_order_id", None)),
    )


def _column(value: str | None) -> str | None:
    return value.replace("\0", _NUL) if value else None
