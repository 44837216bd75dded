"""The code under an approval, computed from the documents alone.

This shares nothing with the code it judges: its own Avro encoder and CRC-64 (Avro specification
1.12, "Binary Encoding", "Parsing Canonical Form", "Schema Fingerprints"), RFC 2104 by the standard
library, and the layout of what is sealed as docs/kill-switch.md gives it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

PRIMITIVES = ("null", "boolean", "int", "long", "float", "double", "bytes", "string")
EMPTY = 0xC15D213AA4D7A795


class Schemas:
    """The schema files of a folder."""

    def __init__(self, folder: Path) -> None:
        self.files = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.avsc")}

    def canonical(self, kind: Any, seen: dict[str, None]) -> str:
        """Parsing Canonical Form, a name spelled out the first time it occurs."""
        if isinstance(kind, list):
            return "[" + ",".join(self.canonical(part, seen) for part in kind) + "]"
        if isinstance(kind, str):
            if kind in PRIMITIVES or kind in seen:
                return json.dumps(kind)
            return self.canonical(self.files[kind], seen)
        name = kind["type"]
        if name == "array":
            return '{"type":"array","items":' + self.canonical(kind["items"], seen) + "}"
        if name == "map":
            return '{"type":"map","values":' + self.canonical(kind["values"], seen) + "}"
        if name in PRIMITIVES:
            return json.dumps(name)
        full = f"{kind['namespace']}.{kind['name']}"
        seen[full] = None
        head = '{"name":' + json.dumps(full) + ',"type":' + json.dumps(name)
        if name == "enum":
            symbols = ",".join(json.dumps(symbol) for symbol in kind["symbols"])
            return head + ',"symbols":[' + symbols + "]}"
        fields = ",".join(
            f'{{"name":{json.dumps(one["name"])},"type":{self.canonical(one["type"], seen)}}}'
            for one in kind["fields"]
        )
        return head + ',"fields":[' + fields + "]}"

    def encoded(self, kind: Any, value: Any) -> bytes:
        """A value as Avro writes it. Decimals are given as text, bytes as hex."""
        if isinstance(kind, list):
            index = next(i for i, part in enumerate(kind) if (part == "null") == (value is None))
            return number(index) + self.encoded(kind[index], value)
        if isinstance(kind, str):
            if kind in PRIMITIVES:
                return plain(kind, value)
            return self.encoded(self.files[kind], value)
        if kind.get("logicalType") == "decimal":
            return decimal(value, kind["scale"])
        match kind["type"]:
            case "enum":
                return number(kind["symbols"].index(value))
            case "array":
                items = b"".join(self.encoded(kind["items"], item) for item in value)
                return (number(len(value)) + items if value else b"") + number(0)
            case "record":
                fields = kind["fields"]
                return b"".join(self.encoded(one["type"], value[one["name"]]) for one in fields)
        return plain(kind["type"], value)


def number(value: int) -> bytes:
    """A long: zigzag, seven bits a byte, the lowest first."""
    left, found = (value << 1) ^ (value >> 63), bytearray()
    while left > 0x7F:
        found.append(left & 0x7F | 0x80)
        left >>= 7
    found.append(left)
    return bytes(found)


def framed(content: bytes) -> bytes:
    """Bytes behind their length."""
    return number(len(content)) + content


def plain(kind: str, value: Any) -> bytes:
    """A primitive; floats are in nothing that is sealed."""
    match kind:
        case "null":
            return b""
        case "boolean":
            return b"\x01" if value else b"\x00"
        case "int" | "long":
            return number(value)
        case "string":
            return framed(value.encode())
        case "bytes":
            return framed(bytes.fromhex(value))
    raise AssertionError(kind)


def decimal(text: str, scale: int) -> bytes:
    """The unscaled number, two's complement, in as few bytes as can hold it."""
    sign, digits, exponent = Decimal(text).as_tuple()
    assert isinstance(exponent, int)
    unscaled = int("".join(map(str, digits))) * 10 ** (scale + exponent)
    unscaled = -unscaled if sign else unscaled
    length = 1
    while not -(1 << 8 * length - 1) <= unscaled < 1 << 8 * length - 1:
        length += 1
    return framed(unscaled.to_bytes(length, "big", signed=True))


def fingerprint(text: str) -> bytes:
    """CRC-64-AVRO, the lowest byte first."""
    found = EMPTY
    for byte in text.encode():
        value = (found ^ byte) & 0xFF
        for _ in range(8):
            value = value >> 1 ^ (EMPTY if value & 1 else 0)
        found = found >> 8 ^ value
    return found.to_bytes(8, "little")


def code(schemas: Schemas, approved: dict[str, Any], key_id: str, secret: bytes) -> bytes:
    """HMAC-SHA-256 over domain, fingerprint, key id and body, each but the second behind four
    bytes of its length; in the body the approval has neither key id nor code."""
    name = "tapeline.orders.ApprovedOrder"
    bare = {**approved, "approval": {**approved["approval"], "key_id": "", "mac": ""}}
    body = schemas.encoded(name, bare)
    message = b""
    for part in (f"tapeline/{name}/v1".encode(), None, key_id.encode(), body):
        if part is None:
            message += fingerprint(schemas.canonical(name, {}))
        else:
            message += len(part).to_bytes(4, "big") + part
    return hmac.new(secret, message, hashlib.sha256).digest()
