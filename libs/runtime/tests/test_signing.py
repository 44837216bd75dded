from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tapeline.contracts.control import Flatten, ScopeKind, SetTradingState
from tapeline.contracts.orders import (
    Algorithm,
    Approval,
    ApprovedOrder,
    ChildRole,
    CommandKind,
    Mode,
    Order,
    OrderAction,
    OrderType,
    Schedule,
    ScheduledChild,
    Side,
    TimeInForce,
    VenueCommand,
)
from tapeline.contracts.risk import TradingState
from tapeline.runtime.codec import DecodeError, Decoder, digest_body, encode, schema_of
from tapeline.runtime.signing import (
    KeyRing,
    OperatorKeys,
    Signer,
    create_secret,
    create_signer,
    seal,
    seal_verdict,
    sign,
    signature_verdict,
)

D = Decimal
SECRET, OTHER = bytes(range(32)), bytes(range(1, 33))
RING = KeyRing.of({"k1": SECRET, "k2": OTHER}, active="k1", revoked=frozenset({"k0"}))
APPROVED = ApprovedOrder(
    action=OrderAction.OPEN,
    order=Order(
        client_order_id="order-1",
        account_id="PAPER-1",
        group_id="momentum",
        instrument_id="SPY.ARCA",
        venue="ARCA",
        side=Side.BUY,
        order_type=OrderType.LIMIT,
        quantity=D("1.5"),
        limit_price=D("100.25"),
        stop_price=None,
        time_in_force=TimeInForce.GTC,
        expire_time_ns=7,
        is_reduce_only=False,
        is_post_only=True,
        take_profit_price=D("110"),
        stop_loss_price=D("90"),
        arrival_price=D("100.2"),
    ),
    approval=Approval(
        approval_id="approval-1",
        decision_id="decision-1",
        run_id="run-1",
        mode=Mode.PAPER,
        account_id="PAPER-1",
        key_id="",
        issued_ns=1_000,
        expires_ns=2_000,
        last_send_ns=2_000,
        child_count=2,
        schedule=Schedule(
            algorithm=Algorithm.TWAP,
            end_ns=5_000,
            children=tuple(
                ScheduledChild(
                    role=ChildRole.SLICE,
                    quantity=D("0.75"),
                    order_type=OrderType.STOP_LIMIT,
                    limit_price=D("100.25"),
                    stop_price=D("100.2"),
                    send_ns=send_ns,
                    last_send_ns=4_000,
                )
                for send_ns in (1_000, 3_000)
            ),
        ),
        mac=b"",
    ),
    ts_event_ns=1_000,
    ts_init_ns=1_000,
)
HALT = SetTradingState(
    scope=ScopeKind.ACCOUNT,
    scope_id="PAPER-1",
    state=TradingState.HALTED,
    sequence=4,
    operator="ada",
    reason="drill",
    issued_ns=5,
    run_id="run-1",
    key_id="",
    signature=b"",
)


def mutations(record: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every record that differs in one field, at any depth."""
    for field in fields(record):
        value, name = getattr(record, field.name), f"{path}{field.name}"
        if is_dataclass(value):
            for inner, changed in mutations(value, f"{name}."):
                yield inner, replace(record, **{field.name: changed})
            continue
        if isinstance(value, tuple):
            for part, other in changed_items(value, name):
                yield part, replace(record, **{field.name: other})
            continue
        for other in others(value):
            yield name, replace(record, **{field.name: other})


def changed_items(items: tuple[Any, ...], path: str) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """A tuple of records with one of them changed, left out, repeated or moved."""
    for place, item in enumerate(items):
        before, behind = items[:place], items[place + 1 :]
        for name, other in mutations(item, f"{path}."):
            yield name, (*before, other, *behind)
        yield path, (*before, *behind)
        yield path, (*before, item, item, *behind)
    yield path, items[::-1]


def others(value: object) -> list[object]:
    """Other values of a field's type."""
    match value:
        case bool():
            return [not value]
        case Enum():
            return [symbol for symbol in type(value) if symbol is not value]
        case int():
            return [value + 1, -value - 1]
        case Decimal():
            return [value + D("1E-18"), -value]
        case str():
            return [value + "x", value[:-1] if value else "y"]
        case bytes():
            return [value + b"\0", value[:-1]]
        case None:
            return [D(1)]
    raise AssertionError(f"no other value for {value!r}")


# ---- codes


def test_a_sealed_record_verifies_and_only_key_and_code_were_filled_in() -> None:
    sealed = seal(APPROVED, RING)
    assert seal_verdict(sealed, RING) == ""
    assert sealed.approval.key_id == "k1"
    assert len(sealed.approval.mac) == 32
    assert sealed.without_mac() == APPROVED
    assert digest_body(sealed) == digest_body(APPROVED)


def test_a_code_survives_the_wire() -> None:
    decoder = Decoder(("tapeline.orders.ApprovedOrder",), is_canonical=True)
    assert seal_verdict(decoder.decode(encode(seal(APPROVED, RING))), RING) == ""


def test_a_sealed_record_verifies_inside_a_venue_command() -> None:
    command = VenueCommand(
        command_id="c",
        kind=CommandKind.SUBMIT,
        venue="ARCA",
        child_index=0,
        client_order_id="order-1",
        quantity=D("1.5"),
        approved=seal(APPROVED, RING),
        ts_event_ns=1,
    )
    decoded = Decoder((VenueCommand.AVRO,)).decode(encode(command))
    assert seal_verdict(decoded.approved, RING) == ""


def test_every_other_value_of_every_field_is_refused() -> None:
    sealed = seal(APPROVED, RING)
    seen = set()
    for name, changed in mutations(sealed):
        assert seal_verdict(changed, RING) != "", name
        seen.add(name)
    leaves = {
        *(f"order.{field.name}" for field in fields(Order)),
        *(f"approval.{field.name}" for field in fields(Approval)),
        *(f"approval.schedule.{field.name}" for field in fields(Schedule)),
        *(f"approval.schedule.children.{field.name}" for field in fields(ScheduledChild)),
        *(field.name for field in fields(ApprovedOrder)),
    } - {"order", "approval", "approval.schedule"}
    assert seen == leaves


def test_every_flipped_bit_of_the_encoded_record_is_refused() -> None:
    decoder = Decoder(("tapeline.orders.ApprovedOrder",), is_canonical=True)
    encoded = encode(seal(APPROVED, RING))
    for bit in range(len(encoded) * 8):
        flipped = bytearray(encoded)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            record = decoder.decode(bytes(flipped))
        except DecodeError:
            continue
        assert seal_verdict(record, RING) != "", f"bit {bit}"


def test_a_code_of_another_key_is_refused() -> None:
    sealed = seal(APPROVED, RING)
    claimed = replace(sealed, approval=replace(sealed.approval, key_id="k2"))
    assert seal_verdict(claimed, RING) == "BAD_MAC"


@pytest.mark.parametrize(
    ("key_id", "mac", "verdict"),
    [
        ("k1", b"", "UNSIGNED"),
        ("k9", bytes(32), "UNKNOWN_KEY"),
        ("k0", bytes(32), "REVOKED_KEY"),
        ("k1", bytes(32), "BAD_MAC"),
        ("k1", b"\0", "BAD_MAC"),
    ],
)
def test_each_fault_has_its_code(key_id: str, mac: bytes, verdict: str) -> None:
    record = replace(APPROVED, approval=replace(APPROVED.approval, key_id=key_id, mac=mac))
    assert seal_verdict(record, RING) == verdict


def test_both_keys_of_a_rotation_verify() -> None:
    later = KeyRing.of({"k1": SECRET, "k2": OTHER}, active="k2", revoked=frozenset())
    assert seal_verdict(seal(APPROVED, RING), later) == ""
    assert seal_verdict(seal(APPROVED, later), RING) == ""


def test_without_a_key_nothing_verifies(tmp_path: Path) -> None:
    empty = KeyRing.from_folder(tmp_path / "none")
    assert seal_verdict(seal(APPROVED, RING), empty) == "KEY_MISSING"


def test_a_record_without_a_place_for_a_code_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        seal(HALT, RING)


# ---- golden vectors, by other hands


def long_varint(value: int) -> bytes:
    value = value << 1 if value >= 0 else (-value << 1) - 1
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def text(value: str) -> bytes:
    return long_varint(len(value.encode())) + value.encode()


def decimal(value: str) -> bytes:
    units = int(D(value).scaleb(18))
    length = units.bit_length() // 8 + 1
    return long_varint(length) + units.to_bytes(length, "big", signed=True)


def hand_made_message(key_id: str) -> bytes:
    """The signed bytes of APPROVED, from the Avro specification alone."""
    order = b"".join(
        [
            *map(text, ("order-1", "PAPER-1", "momentum", "SPY.ARCA", "ARCA")),
            long_varint(0),  # BUY
            long_varint(1),  # LIMIT
            decimal("1.5"),
            long_varint(1) + decimal("100.25"),
            long_varint(0),  # no stop price
            long_varint(0),  # GTC
            long_varint(1) + long_varint(7),
            b"\x00\x01",
            long_varint(1) + decimal("110"),
            long_varint(1) + decimal("90"),
            decimal("100.2"),
            text(""),  # no symbol of the venue's own
        ]
    )
    approval = b"".join(
        [
            *map(text, ("approval-1", "decision-1", "run-1")),
            long_varint(0),  # PAPER
            text("PAPER-1"),
            text(""),
            *map(long_varint, (1_000, 2_000, 2_000, 2)),
            long_varint(1) + hand_made_schedule(),
            text(""),
        ]
    )
    body = long_varint(0) + order + approval + long_varint(1_000) + long_varint(1_000)
    name = b"tapeline.orders.ApprovedOrder"
    domain = b"tapeline/" + name + b"/v1"
    fingerprint = schema_of(name.decode()).header[2:]
    parts = [len(domain).to_bytes(4, "big"), domain, fingerprint]
    parts += [len(key_id).to_bytes(4, "big"), key_id.encode(), len(body).to_bytes(4, "big"), body]
    return b"".join(parts)


def hand_made_schedule() -> bytes:
    """The schedule's bytes: algorithm, end, one block of two children."""
    children = [
        b"".join(
            [
                long_varint(2),  # SLICE
                decimal("0.75"),
                long_varint(3),  # STOP_LIMIT
                long_varint(1) + decimal("100.25"),
                long_varint(1) + decimal("100.2"),
                long_varint(send_ns) + long_varint(4_000),
            ]
        )
        for send_ns in (1_000, 3_000)
    ]
    head = long_varint(2) + long_varint(1) + long_varint(5_000)  # TWAP, and its end
    return head + long_varint(2) + b"".join(children) + long_varint(0)


def openssl_hmac(secret: bytes, message: bytes) -> bytes:
    command = ["openssl", "dgst", "-sha256", "-mac", "HMAC", "-macopt", f"hexkey:{secret.hex()}"]
    done = subprocess.run([*command, "-binary"], input=message, capture_output=True, check=True)
    return done.stdout


def test_openssl_computes_the_same_code_over_bytes_made_by_hand() -> None:
    assert seal(APPROVED, RING).approval.mac == openssl_hmac(SECRET, hand_made_message("k1"))


def test_the_openssl_of_this_machine_agrees_with_rfc_4231() -> None:
    # Test case 2 of RFC 4231, section 4.3.
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert openssl_hmac(b"Jefe", b"what do ya want for nothing?").hex() == expected


def test_the_key_id_is_under_the_code_although_outside_the_digest() -> None:
    same_secret = KeyRing.of({"k7": SECRET}, active="k7", revoked=frozenset())
    assert seal(APPROVED, same_secret).approval.mac != seal(APPROVED, RING).approval.mac


# ---- operators


class StoppedClock:
    """No quarter of a second ever passes."""

    def wall_ns(self) -> int:
        return 0

    def monotonic_s(self) -> float:
        return 0.0


@pytest.fixture
def ada(tmp_path: Path) -> tuple[Signer, OperatorKeys]:
    signer = create_signer(tmp_path / "private", tmp_path / "operators", "ada-1")
    return signer, OperatorKeys.from_folder(tmp_path / "operators")


def test_an_operator_s_signature_verifies_with_the_public_key_alone(
    ada: tuple[Signer, OperatorKeys], tmp_path: Path
) -> None:
    signer, ring = ada
    signed = sign(HALT, Signer.from_file(tmp_path / "private" / "ada-1.key"))
    assert signed.key_id == "ada-1"
    assert signature_verdict(signed, ring) == ""
    assert signed == sign(HALT, signer)


def test_every_other_value_of_a_signed_control_record_is_refused(
    ada: tuple[Signer, OperatorKeys],
) -> None:
    signer, ring = ada
    signed = sign(HALT, signer)
    names = {name for name, _ in mutations(signed)}
    assert names == {field.name for field in fields(SetTradingState)}
    for name, changed in mutations(signed):
        assert signature_verdict(changed, ring) != "", name


def test_a_signature_does_not_serve_another_type_of_record(
    ada: tuple[Signer, OperatorKeys],
) -> None:
    signer, ring = ada
    signature = sign(HALT, signer).signature
    command = Flatten(
        command_id="f",
        scope=ScopeKind.ALL,
        scope_id="",
        expires_ns=1,
        sequence=1,
        operator="ada",
        reason="",
        issued_ns=1,
        run_id="run-1",
        key_id="ada-1",
        signature=signature,
    )
    assert signature_verdict(command, ring) == "BAD_SIGNATURE"


def test_unsigned_unknown_and_revoked_operators_are_told_apart(
    ada: tuple[Signer, OperatorKeys], tmp_path: Path
) -> None:
    signer, ring = ada
    stranger = Signer(key_id="eve", private_key=Ed25519PrivateKey.generate())
    impostor = Signer(key_id="ada-1", private_key=stranger.private_key)
    assert signature_verdict(HALT, ring) == "UNSIGNED"
    assert signature_verdict(sign(HALT, stranger), ring) == "UNKNOWN_KEY"
    assert signature_verdict(sign(HALT, impostor), ring) == "BAD_SIGNATURE"
    create_signer(tmp_path / "private", tmp_path / "operators", "ada-2")
    (tmp_path / "operators" / "revoked").write_text("ada-1\n")
    fresh = OperatorKeys.from_folder(tmp_path / "operators")
    assert signature_verdict(sign(HALT, signer), fresh) == "REVOKED_KEY"
    assert signature_verdict(HALT, OperatorKeys.from_folder(tmp_path / "no")) == "KEY_MISSING"


def test_the_keys_are_read_anew_only_for_a_signer_that_is_not_known(
    ada: tuple[Signer, OperatorKeys], tmp_path: Path
) -> None:
    signer, _ = ada
    stranger = Signer(key_id="eve", private_key=Ed25519PrivateKey.generate())
    ring = OperatorKeys.from_folder(tmp_path / "operators", StoppedClock())
    assert signature_verdict(sign(HALT, signer), ring) == ""
    (tmp_path / "operators" / "ada-1.pub").unlink()
    assert signature_verdict(sign(HALT, signer), ring) == ""
    assert signature_verdict(sign(HALT, stranger), ring) == "KEY_MISSING"


def test_secrets_are_read_anew_only_for_a_key_that_is_not_known(tmp_path: Path) -> None:
    create_secret(tmp_path, "a")
    ring = KeyRing.from_folder(tmp_path, StoppedClock())
    old = seal(APPROVED, ring)
    create_secret(tmp_path, "b")
    new = seal(APPROVED, KeyRing.from_folder(tmp_path))
    assert new.approval.key_id == "b"
    assert seal_verdict(new, ring) == ""
    (tmp_path / "a.key").unlink()
    assert seal_verdict(old, ring) == ""
    assert seal_verdict(seal(APPROVED, KeyRing.of({"c": SECRET}, "c", frozenset())), ring) == (
        "UNKNOWN_KEY"
    )
    assert seal_verdict(old, ring) == "UNKNOWN_KEY"


def test_ed25519_is_that_of_rfc_8032(tmp_path: Path) -> None:
    # Test 2 of RFC 8032, section 7.1: the key files hold what the RFC calls secret and public key.
    seed = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"
    public = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    (tmp_path / "rfc.key").write_text(seed)
    (tmp_path / "rfc.key").chmod(0o600)
    (tmp_path / "rfc.pub").write_text(public)
    (tmp_path / "rfc.pub").chmod(0o644)
    signer = Signer.from_file(tmp_path / "rfc.key")
    assert signer.private_key.public_key().public_bytes_raw().hex() == public
    expected = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
    found = OperatorKeys.from_folder(tmp_path).keys().valid["rfc"]
    assert found.public_bytes_raw() == expected.public_bytes_raw()
    signature = signer.private_key.sign(b"\x72").hex()
    assert signature.startswith("92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da")
