"""What is hashed, and that everything is."""

from __future__ import annotations

import hmac
import struct
from hashlib import sha256
from typing import Any

import pytest
from audit_samples import KEY
from hypothesis import given
from hypothesis import strategies as st

from tapeline.audit.chain import Chain, ChainKey, message_digest, pack_headers, unpack_headers


def packed(parts: list[Any]) -> bytes:
    """MessagePack of short lists of short texts, byte strings and numbers, written anew."""
    out = bytes([0x90 | len(parts)])
    for part in parts:
        if isinstance(part, str):
            text = part.encode()
            out += (
                bytes([0xA0 | len(text)]) if len(text) < 32 else b"\xd9" + bytes([len(text)])
            ) + text
        elif isinstance(part, bytes):
            out += b"\xc4" + bytes([len(part)]) + part
        elif part < 128:
            out += bytes([part])
        elif part < 65536:
            out += (b"\xcc" + bytes([part])) if part < 256 else b"\xcd" + struct.pack(">H", part)
        else:
            out += b"\xcf" + struct.pack(">Q", part)
    return out


def test_a_head_is_the_documented_mac() -> None:
    chain = Chain(KEY, "run-1", ("fills", 3))
    digests = [bytes([number]) * 32 for number in range(3)]
    parts = ["tapeline/audit/row/v1", "2026-01", "run-1", "fills", 3, 300, 7, *digests]
    expected = hmac.new(KEY.secret, packed(parts), sha256).digest()
    assert chain.row_head(300, 7, *digests) == expected


def test_a_message_digest_is_the_documented_hash() -> None:
    headers = pack_headers([("event_id", b"e")])
    parts = [b"key", headers, b"value", 1_700_000_000_000]
    assert (
        message_digest(b"key", headers, b"value", 1_700_000_000_000)
        == sha256(packed(parts)).digest()
    )


def test_heads_stay_what_they_are() -> None:
    """A golden vector: a change of the format would orphan every chain that was written."""
    chain = Chain(KEY, "run-1", ("fills", 3))
    assert chain.genesis().hex() == (
        "b7b94edd8ac7970d867193c30ccb9518a08df9c5ddf1bf4faa02782da65c235b"
    )
    assert chain.row_head(0, 1, chain.genesis(), bytes(32), bytes(32)).hex() == (
        "0528fd8fa0f3629bf40a7658306b0f2e15da55d0d192a53fe3d395129f267659"
    )
    assert chain.range_head((0, 10_000), 9_999, 1, chain.genesis(), bytes(32)).hex() == (
        "cc8d61ae3d0b90a4b0a0d07f316d3de8564cf7e6676b6d668cfdbadd56588ecc"
    )


@pytest.mark.parametrize(
    "other",
    [
        Chain(ChainKey(key_id="2026-02", secret=KEY.secret), "run-1", ("fills", 3)),
        Chain(ChainKey(key_id=KEY.key_id, secret=bytes(32)), "run-1", ("fills", 3)),
        Chain(KEY, "run-2", ("fills", 3)),
        Chain(KEY, "run-1", ("orders", 3)),
        Chain(KEY, "run-1", ("fills", 4)),
    ],
)
def test_chains_of_other_keys_runs_and_places_have_other_heads(other: Chain) -> None:
    chain = Chain(KEY, "run-1", ("fills", 3))
    digest = bytes(32)
    assert other.genesis() != chain.genesis()
    assert other.row_head(1, 1, digest, digest, digest) != chain.row_head(
        1, 1, digest, digest, digest
    )


@given(
    st.tuples(st.binary(max_size=4) | st.none(), st.binary(max_size=4) | st.none()),
    st.tuples(st.binary(max_size=4) | st.none(), st.binary(max_size=4) | st.none()),
)
def test_different_messages_have_different_digests(
    one: tuple[bytes | None, bytes | None], other: tuple[bytes | None, bytes | None]
) -> None:
    def digest(pair: tuple[bytes | None, bytes | None]) -> bytes:
        return message_digest(pair[0], b"", pair[1], 0)

    assert (digest(one) == digest(other)) == (one == other)


@given(st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=5) | st.none()), max_size=5))
def test_headers_come_back_as_they_were(headers: list[tuple[str, bytes | None]]) -> None:
    assert list(unpack_headers(pack_headers(headers))) == headers
