"""Signatures of records: HMAC-SHA-256 between services of ours, Ed25519 for operators.

What is signed is unambiguous and bound to its type:

    len(domain) domain  fingerprint  len(key_id) key_id  len(body) body

with 4-byte big-endian lengths, domain "tapeline/<Avro full name>/v1", the 8 bytes of the schema
fingerprint as on the wire, and the record's Avro body with the signature itself left out.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import fields
from functools import lru_cache
from typing import Any, TypeVar

from cryptography.exceptions import InvalidSignature

from tapeline.contracts.frozen import replace
from tapeline.runtime.codec import digest_body, encode_body, schema_of
from tapeline.runtime.keys import (
    OPERATOR_FOLDER,
    SEAL_FOLDER,
    KeyMissing,
    KeyRing,
    Keys,
    KeyUnreadable,
    KeyUnsafe,
    OperatorKeys,
    Signer,
    SigningError,
    create_secret,
    create_signer,
)

__all__ = [
    "OPERATOR_FOLDER",
    "SEAL_FOLDER",
    "KeyMissing",
    "KeyRing",
    "KeyUnreadable",
    "KeyUnsafe",
    "Keys",
    "OperatorKeys",
    "Signer",
    "SigningError",
    "author_verdict",
    "create_secret",
    "create_signer",
    "seal",
    "seal_verdict",
    "sign",
    "sign_as_author",
    "signature_verdict",
]
Record = TypeVar("Record")
_SEATS: dict[type[Any], str] = {}
"""Seat names by type of record."""


def seal(record: Record, ring: KeyRing, body: bytes | None = None) -> Record:
    """The record with the ring's active key and its code filled in; raises SigningError. `body` is
    its `digest_body`, where that is known."""
    keys = ring.keys()
    mac = _mac(record, keys.active, keys.valid[keys.active], body)
    sealed: Record = _with_seat(record, keys.active, mac)
    return sealed


def seal_verdict(record: Any, ring: KeyRing) -> str:
    """Stable code of what is wrong with a sealed record, or empty.

    UNSIGNED, REVOKED_KEY, UNKNOWN_KEY, BAD_MAC, or the code of a ring that cannot be used.
    """
    try:
        keys = ring.keys()
    except SigningError as error:
        return error.code
    seat = _seat(record)
    if not seat.mac:
        return "UNSIGNED"
    if seat.key_id not in keys.valid and seat.key_id not in keys.revoked:
        try:
            keys = ring.keys_now()
        except SigningError as error:
            return error.code
    if seat.key_id in keys.revoked:
        return "REVOKED_KEY"
    secret = keys.valid.get(seat.key_id)
    if secret is None:
        return "UNKNOWN_KEY"
    is_ours = hmac.compare_digest(_mac(record, seat.key_id, secret), seat.mac)
    return "" if is_ours else "BAD_MAC"


def sign(record: Record, signer: Signer) -> Record:
    """A record with fields key_id and signature, signed by an operator."""
    unsigned: Any = replace(record, key_id=signer.key_id, signature=b"")  # type: ignore[type-var]
    signature = signer.private_key.sign(_signed_message(unsigned))
    signed: Record = replace(unsigned, signature=signature)
    return signed


def signature_verdict(record: Any, ring: OperatorKeys) -> str:
    """Stable code of what is wrong with an operator's signature, or empty.

    UNSIGNED, REVOKED_KEY, UNKNOWN_KEY, BAD_SIGNATURE, or the code of a ring that cannot be used.
    """
    return _signature_fault(
        ring,
        (record.key_id, record.signature),
        lambda: _signed_message(replace(record, signature=b"")),
    )


def sign_as_author(record: Record, signer: Signer) -> Record:
    """A record that has a place for a code, with an operator's signature in it instead."""
    message = _authored_message(record, signer.key_id)
    signed: Record = _with_seat(record, signer.key_id, signer.private_key.sign(message))
    return signed


def author_verdict(record: Any, ring: OperatorKeys) -> str:
    """As `signature_verdict`, for a record that `sign_as_author` has signed."""
    seat = _seat(record)
    return _signature_fault(
        ring, (seat.key_id, seat.mac), lambda: _authored_message(record, seat.key_id)
    )


def _signature_fault(
    ring: OperatorKeys, said: tuple[str, bytes], message: Callable[[], bytes]
) -> str:
    """`said` is (key id, signature)."""
    key_id, signature = said
    try:
        keys = ring.keys()
        if key_id not in keys.valid and key_id not in keys.revoked:
            keys = ring.keys_now()
    except SigningError as error:
        return error.code
    if not signature:
        return "UNSIGNED"
    if key_id in keys.revoked:
        return "REVOKED_KEY"
    key = keys.valid.get(key_id)
    if key is None:
        return "UNKNOWN_KEY"
    try:
        key.verify(signature, message())
    except InvalidSignature:
        return "BAD_SIGNATURE"
    return ""


def _authored_message(record: Any, key_id: str, body: bytes | None = None) -> bytes:
    return _message(record.AVRO, key_id, digest_body(record) if body is None else body)


def _framed(part: bytes) -> bytes:
    return len(part).to_bytes(4, "big") + part


def _message(avro_name: str, key_id: str, body: bytes) -> bytes:
    return _heading(avro_name, key_id) + _framed(body)


@lru_cache(maxsize=256)
def _heading(avro_name: str, key_id: str) -> bytes:
    domain = f"tapeline/{avro_name}/v1".encode()
    fingerprint = schema_of(avro_name).header[2:]
    return _framed(domain) + fingerprint + _framed(key_id.encode())


def _mac(record: Any, key_id: str, secret: bytes, body: bytes | None = None) -> bytes:
    # By name: of a function the library looks its name up each time.
    return hmac.digest(secret, _authored_message(record, key_id, body), "sha256")


def _signed_message(unsigned: Any) -> bytes:
    return _message(unsigned.AVRO, unsigned.key_id, encode_body(unsigned))


def _seat_name(record: Any) -> str:
    """Name of the field whose record holds key_id and mac; empty for the record itself."""
    known = _SEATS.get(type(record))
    if known is None:
        known = _SEATS[type(record)] = "" if hasattr(record, "mac") else _inner_seat_name(record)
    return known


def _inner_seat_name(record: Any) -> str:
    names = [field.name for field in fields(record) if hasattr(getattr(record, field.name), "mac")]
    assert len(names) == 1, f"{record.AVRO} has no single place for a code"
    return names[0]


def _seat(record: Any) -> Any:
    name = _seat_name(record)
    return getattr(record, name) if name else record


def _with_seat(record: Any, key_id: str, mac: bytes) -> Any:
    name = _seat_name(record)
    seat = replace(_seat(record), key_id=key_id, mac=mac)
    return replace(record, **{name: seat}) if name else seat
