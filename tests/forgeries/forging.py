"""Every way we know to make an approval without the key, or to change one that was given."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from decimal import Decimal
from enum import Enum
from random import Random
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tapeline.contracts import topics
from tapeline.contracts.orders import ApprovedOrder
from tapeline.runtime.codec import HEADER_BYTES, DecodeError, Decoder, digest_body, encode
from tapeline.runtime.keys import KeyRing
from tapeline.runtime.signing import seal_verdict

DECODER = Decoder(topics.TOPICS[topics.APPROVED_ORDERS].records, is_canonical=True)


@dataclass(frozen=True, slots=True)
class Forgery:
    """Bytes on the topic that only risk may write."""

    kind: str
    value: bytes


def is_accepted(forgery: Forgery, ring: KeyRing) -> bool:
    """Whether execution's intake would take the bytes for an approval of risk's."""
    try:
        record = DECODER.decode(forgery.value)
    except DecodeError:
        return False
    return isinstance(record, ApprovedOrder) and not seal_verdict(record, ring)


def forgeries(
    genuine: ApprovedOrder, others: Iterable[ApprovedOrder], chance: Random, random_count: int
) -> Iterator[Forgery]:
    """All forgeries of one approval; `others` lend their codes and ids."""
    value = encode(genuine)
    yield from _bits(value)
    yield from _fields(genuine)
    yield from _codes(genuine)
    yield from _algorithms(genuine)
    yield from _borrowed(genuine, others)
    yield from _formats(value)
    yield from _random(value, chance, random_count)


def _bits(value: bytes) -> Iterator[Forgery]:
    for place in range(len(value)):
        for bit in range(8):
            changed = bytearray(value)
            changed[place] ^= 1 << bit
            yield Forgery("a bit flipped", bytes(changed))


def _random(value: bytes, chance: Random, count: int) -> Iterator[Forgery]:
    for _ in range(count):
        changed = bytearray(value)
        for _ in range(chance.randrange(2, 6)):
            changed[chance.randrange(len(changed))] ^= chance.randrange(1, 256)
        if bytes(changed) != value:
            yield Forgery("several bytes changed", bytes(changed))


def _fields(genuine: ApprovedOrder) -> Iterator[Forgery]:
    for name, changed in _changed(genuine):
        if name != "approval.mac":
            yield Forgery(f"field {name}", encode(changed))


def _changed(record: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every record that differs in one field, at any depth."""
    for field in fields(record):
        value, name = getattr(record, field.name), f"{path}{field.name}"
        if is_dataclass(value):
            for inner, changed in _changed(value, f"{name}."):
                yield inner, replace(record, **{field.name: changed})
            continue
        for other in _others(value):
            yield name, replace(record, **{field.name: other})


def _others(value: Any) -> list[Any]:
    match value:
        case Enum():
            return [member for member in type(value) if member is not value]
        case bool():
            return [not value]
        case int():
            return [value + 1, value - 1, value + 1_000_000, -value]
        case Decimal():
            return [value + Decimal("1E-18"), value * 2, value / 2, -value]
        case str():
            return [f"{value} ", f"{value}\0", value[:-1], value.lower() + "x", f"{value}/"]
        case bytes():
            return [value[:-1]]
    return []


def _with_code(genuine: ApprovedOrder, mac: bytes, key_id: str | None = None) -> ApprovedOrder:
    key_id = genuine.approval.key_id if key_id is None else key_id
    return replace(genuine, approval=replace(genuine.approval, mac=mac, key_id=key_id))


def _codes(genuine: ApprovedOrder) -> Iterator[Forgery]:
    mac = genuine.approval.mac
    for length in range(len(mac)):
        yield Forgery("a truncated code", encode(_with_code(genuine, mac[:length])))
        yield Forgery("the end of a code", encode(_with_code(genuine, mac[length + 1 :])))
    for changed in (mac + b"\0", b"\0" + mac, mac * 2, bytes(32), b"\xff" * 32, mac[::-1]):
        yield Forgery("a code of another shape", encode(_with_code(genuine, changed)))
    text = (mac.hex().encode(), mac.hex().upper().encode())
    for changed in text:
        yield Forgery("a code as text", encode(_with_code(genuine, changed)))
    for key_id in ("", "k0", "k2", "K1", "k1 ", "k1\0", "../k1", "none", "*"):
        if key_id != genuine.approval.key_id:
            yield Forgery("another key's name", encode(_with_code(genuine, mac, key_id)))


def _algorithms(genuine: ApprovedOrder) -> Iterator[Forgery]:
    """Codes by other functions, with keys that are no secret."""
    body = digest_body(genuine)
    message = b"tapeline" + body
    public = Ed25519PrivateKey.from_private_bytes(bytes(32))
    known = (b"", bytes(32), b"k1", genuine.approval.key_id.encode(), b"secret", body[:32])
    for text in (body, message, encode(genuine), encode(_with_code(genuine, b""))):
        for name in ("md5", "sha1", "sha256", "sha512", "sha3_256", "blake2s"):
            yield Forgery(
                "a bare hash", encode(_with_code(genuine, hashlib.new(name, text).digest()))
            )
            for key in known:
                code = hmac.digest(key, text, name)
                yield Forgery("a code by a known key", encode(_with_code(genuine, code)))
                yield Forgery("the same, cut", encode(_with_code(genuine, code[:32])))
        signature = public.sign(text)
        yield Forgery("a signature for a code", encode(_with_code(genuine, signature)))
        yield Forgery("half a signature", encode(_with_code(genuine, signature[:32])))


def _borrowed(genuine: ApprovedOrder, others: Iterable[ApprovedOrder]) -> Iterator[Forgery]:
    """Parts of approvals that were given, put together anew."""
    for other in others:
        mine, theirs = genuine.approval, other.approval
        for approval in (
            replace(mine, mac=theirs.mac),
            replace(theirs, mac=mine.mac),
            theirs,
            replace(theirs, approval_id=mine.approval_id),
        ):
            changed = replace(genuine, approval=approval)
            if changed not in (genuine, other):
                yield Forgery("another's code", encode(changed))
        moved = replace(other, order=genuine.order)
        if moved not in (genuine, other):
            yield Forgery("another's order", encode(moved))


def _formats(value: bytes) -> Iterator[Forgery]:
    """The same meaning in other bytes: over-long numbers, padding, what follows."""
    head, body = value[:HEADER_BYTES], value[HEADER_BYTES:]
    for place, byte in enumerate(body):
        if byte < 0x80:
            # A varint may be written longer than it needs to be.
            longer = bytes((byte | 0x80, 0))
            yield Forgery("an over-long number", head + body[:place] + longer + body[place + 1 :])
        yield Forgery("a byte left out", head + body[:place] + body[place + 1 :])
        yield Forgery("a zero put in", head + body[:place] + b"\0" + body[place:])
        yield Forgery("cut off", head + body[:place])
    for more in (b"\0", b"\0" * 16, value, head, b"\n", b" "):
        yield Forgery("something behind it", value + more)
        yield Forgery("something in front", more + value)
    yield Forgery("without its schema", body)
    yield Forgery("Confluent's frame", b"\0\0\0\0\1" + body)
    yield Forgery("as text", value.hex().encode())
    yield Forgery("nothing", b"")
