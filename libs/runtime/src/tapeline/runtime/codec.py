"""Avro bytes to contracts types and back: single-object encoding, strict and bounded.

Errors:
    DecodeError            a record that cannot be used; `code` is stable
    ├── UnknownSchema      no schema for the fingerprint or id
    └── IncompatibleSchema the writer's schema is known but cannot be read as ours
    EncodeError            a record of ours that does not fit its schema: a bug

What is refused although the Avro library would take it: trailing bytes, NaN and infinities, enum
symbols that our schema does not know and gives no default for, decimals outside precision 38, more
than MAX_BYTES and, outside bulk topics, any encoding that is not the one we would write ourselves
(over-long varints). Types are never recursive (the generator refuses it) and
arrays of zero-width items do not occur, so that a short message cannot make a large value.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Context, Decimal
from functools import cache
from typing import Any, Final

import fastavro
from fastavro.schema import (
    SchemaParseException,
    UnknownType,
    fingerprint,
    to_parsing_canonical_form,
)

from tapeline.contracts.finite import NotFinite
from tapeline.contracts.registry import RECORDS, SCHEMAS
from tapeline.runtime.encoder import Write, Writers, digest_writer_of, writer_of
from tapeline.runtime.evolution import hazard, incompatibility

MARKER: Final = b"\xc3\x01"
HEADER_BYTES: Final = 10
MAX_BYTES: Final = 64 * 1024
SNAPSHOT: Final = "tapeline.system.Snapshot"
SNAPSHOT_MAX_BYTES: Final = 64 * 1024 * 1024
DENIAL: Final = "tapeline.risk.Denial"
DENIAL_MAX_BYTES: Final = 900 * 1024
"""one answers all that came too fast within a second"""


DECIMAL_BYTES_MAX: Final = 16
"""Enough for precision 38; Python needs a third of a second for a decimal of 60 kB."""

_EXACT: Final = Context(prec=60)
_PLAIN: Final = Writers()
_DIGESTED: Final = Writers()

_BAD_SCHEMA: Final = (
    SchemaParseException,
    UnknownType,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    RecursionError,
)
"""What a schema that is none may raise from the library."""


class DecodeError(Exception):
    """A record that cannot be used."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


class UnknownSchema(DecodeError):
    """No schema is known for the fingerprint or id."""


class IncompatibleSchema(DecodeError):
    """The writer's schema cannot be read as ours."""


class EncodeError(Exception):
    """A record of ours does not fit its schema."""


@dataclass(frozen=True, slots=True)
class Schema:
    """One of our own record types, ready to use."""

    name: str
    record: Any
    parsed: Any
    header: bytes
    max_bytes: int
    write: Write
    """the Avro body of a record"""
    write_digested: Write
    """the same, authentication codes blanked"""


def _read_decimal(data: bytes, writer: Any = None, reader: Any = None) -> Decimal:
    if len(data) > DECIMAL_BYTES_MAX:
        raise ValueError(f"a decimal of {len(data)} bytes; at most {DECIMAL_BYTES_MAX}")
    scale = (writer or reader)["scale"]
    return Decimal(int.from_bytes(data, "big", signed=True)).scaleb(-scale, _EXACT)


# The library's own reader takes any length.
fastavro.read.LOGICAL_READERS["bytes-decimal"] = _read_decimal


def fingerprint_of(schema: dict[str, Any]) -> int:
    """CRC-64-AVRO of the parsing canonical form, as an unsigned number."""
    # fastavro gives the hex of the bytes as they go on the wire, little-endian.
    text = fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO")
    return int.from_bytes(bytes.fromhex(text), "little")


def _header(schema: dict[str, Any]) -> bytes:
    return MARKER + struct.pack("<Q", fingerprint_of(schema))


@cache
def schema_of(name: str) -> Schema:
    """Our current schema of a record type, by Avro full name."""
    source = SCHEMAS[name]
    limit = {SNAPSHOT: SNAPSHOT_MAX_BYTES, DENIAL: DENIAL_MAX_BYTES}.get(name, MAX_BYTES)
    parsed = fastavro.parse_schema(source)
    plain, digested = writer_of(parsed, _PLAIN), digest_writer_of(parsed, _DIGESTED)
    return Schema(name, RECORDS[name], parsed, _header(source), limit, plain, digested)


def encode_body(record: Any) -> bytes:
    """The Avro body of a record, without marker and fingerprint."""
    schema = schema_of(record.AVRO)
    return _written(record, schema, schema.write)


def _written(record: Any, schema: Schema, write: Write) -> bytes:
    try:
        body = write(record)
    except (ValueError, TypeError, AttributeError, KeyError, ArithmeticError) as error:
        raise EncodeError(f"{record.AVRO}: {error}") from error
    if len(body) + HEADER_BYTES > schema.max_bytes:
        raise EncodeError(f"{record.AVRO}: {len(body)} bytes; at most {schema.max_bytes}")
    return body


def encode(record: Any) -> bytes:
    """A record in single-object encoding: marker, fingerprint, body."""
    return schema_of(record.AVRO).header + encode_body(record)


def digest_body(record: Any, body: bytes | None = None) -> bytes:
    """The bytes that digests are taken over: the body with authentication codes blanked. `body` is
    the record's own, where it is known."""
    without_mac = getattr(record, "without_mac", None)
    if body is not None and (without_mac is None or without_mac() is record):
        return body
    schema = schema_of(record.AVRO)
    return _written(record, schema, schema.write_digested)


class Decoder:
    """Decodes the record types of an allow-list.

    `resolve` is asked for a writer schema that is not ours (the `schemas` topic, or a registry);
    what it returns is checked for name and compatibility before anything is decoded with it.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        resolve: Callable[[int], dict[str, Any] | None] | None = None,
        resolve_confluent: Callable[[int], dict[str, Any] | None] | None = None,
        is_canonical: bool = False,
    ) -> None:
        self._is_canonical = is_canonical
        self._schemas = {schema_of(name).header: schema_of(name) for name in names}
        self._names = {name: schema_of(name) for name in names}
        self._foreign: dict[bytes, tuple[Any, Schema]] = {}
        self._resolve = resolve
        self._resolve_confluent = resolve_confluent

    def decode(self, value: bytes | None) -> Any:
        """A record, or DecodeError."""
        if value is None:
            raise DecodeError("EMPTY", "the message has no value")
        schema = self._schemas.get(value[:HEADER_BYTES])
        if schema is not None:
            record = _read(value, HEADER_BYTES, schema.parsed, schema, None)
            if self._is_canonical and encode_body(record) != value[HEADER_BYTES:]:
                raise DecodeError("NOT_CANONICAL", f"{schema.name} has more than one encoding")
            return record
        if len(value) >= HEADER_BYTES and value[:2] == MARKER:
            return self._decode_foreign(value, value[:HEADER_BYTES], HEADER_BYTES)
        if value[:1] == b"\x00" and len(value) >= 5 and self._resolve_confluent is not None:
            return self._decode_foreign(value, value[:5], 5)
        raise DecodeError("NOT_AVRO", f"no single-object marker in {value[:10].hex() or 'nothing'}")

    def _decode_foreign(self, value: bytes, head: bytes, offset: int) -> Any:
        known = self._foreign.get(head)
        if known is None:
            known = self._foreign[head] = self._look_up(head)
        writer, schema = known
        return _read(value, offset, writer, schema, schema.parsed)

    def _look_up(self, head: bytes) -> tuple[Any, Schema]:
        if len(head) == HEADER_BYTES:
            number = struct.unpack("<Q", head[2:])[0]
            what, source = f"fingerprint {number:016x}", None
            if self._resolve is not None:
                source = self._resolve(number)
            if source is not None and not _has_fingerprint(source, number):
                raise UnknownSchema("UNKNOWN_SCHEMA", f"{what}: the schema found has another one")
        else:
            number = struct.unpack(">I", head[1:])[0]
            what = f"registry id {number}"
            assert self._resolve_confluent is not None
            source = self._resolve_confluent(number)
        if source is None:
            raise UnknownSchema("UNKNOWN_SCHEMA", f"no schema is known for {what}")
        return self._accepted(source, what)

    def _accepted(self, source: dict[str, Any], what: str) -> tuple[Any, Schema]:
        """A writer schema of others, checked before it is used."""
        try:
            # Parsing gives every name in full, however its author has written it.
            parsed: Any = fastavro.parse_schema(json.loads(json.dumps(source)))
            name = str(parsed["name"])
            problem = hazard(parsed)
            if not problem and name in self._names:
                problem = incompatibility(parsed, self._names[name].parsed)
        except _BAD_SCHEMA as error:
            raise IncompatibleSchema("BAD_SCHEMA", f"{what}: {error}") from error
        if name not in self._names:
            raise UnknownSchema("NOT_ALLOWED", f"{what} is {name}, which this topic does not hold")
        if problem:
            raise IncompatibleSchema("INCOMPATIBLE_SCHEMA", f"{what} ({name}): {problem}")
        return parsed, self._names[name]


def _has_fingerprint(source: dict[str, Any], number: int) -> bool:
    try:
        return fingerprint_of(source) == number
    except _BAD_SCHEMA:
        return False


def _read(value: bytes, offset: int, writer: Any, schema: Schema, reader: Any) -> Any:
    if len(value) > schema.max_bytes:
        raise DecodeError("TOO_LARGE", f"{len(value)} bytes; at most {schema.max_bytes}")
    buffer = io.BytesIO(value)
    buffer.seek(offset)
    try:
        datum = fastavro.schemaless_reader(buffer, writer, reader)
    except (EOFError, IndexError) as error:
        raise DecodeError("TRUNCATED", f"{schema.name} ends too early") from error
    except (ValueError, TypeError, KeyError, ArithmeticError, MemoryError) as error:
        raise DecodeError("MALFORMED", f"{schema.name}: {error}") from error
    except fastavro.read.SchemaResolutionError as error:
        raise DecodeError("MALFORMED", f"{schema.name}: {error}") from error
    if buffer.tell() != len(value):
        extra = len(value) - buffer.tell()
        raise DecodeError("TRAILING_BYTES", f"{schema.name} is followed by {extra} bytes")
    try:
        return schema.record.from_avro(datum)
    except NotFinite as error:
        raise DecodeError("NOT_FINITE", str(error)) from error
    except (ValueError, KeyError, TypeError) as error:
        raise DecodeError("MALFORMED", f"{schema.name}: {error}") from error
