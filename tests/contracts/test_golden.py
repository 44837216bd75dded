"""Approvals with their keys and codes, checked in: what was sealed once verifies for ever.

Two implementations agree on each of them: ours, and one that was written from the documents alone.
`TAPELINE_TEST_RECORD=1` writes them anew, which is right only after a schema has grown.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from proving import independent_seal

from tapeline.contracts.orders import (
    Algorithm,
    Approval,
    ApprovedOrder,
    ChildRole,
    Mode,
    Order,
    OrderAction,
    OrderType,
    Schedule,
    ScheduledChild,
    Side,
    TimeInForce,
)
from tapeline.runtime.codec import schema_of
from tapeline.runtime.signing import KeyRing, seal, seal_verdict

ROOT = Path(__file__).parent.parent.parent
GOLDEN = Path(__file__).parent / "golden_approvals.json"
SCHEMAS = independent_seal.Schemas(ROOT / "schemas")
SECRETS = {"2026-01": bytes(range(32)), "2026-02": bytes(range(255, 191, -1))}
D = Decimal


def plain_order() -> ApprovedOrder:
    """A limit order, the plainest of the samples."""
    order = Order(
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
        expire_time_ns=None,
        is_reduce_only=False,
        is_post_only=True,
        take_profit_price=D("120"),
        stop_loss_price=None,
        arrival_price=D("100.01"),
    )
    approval = Approval(
        approval_id="approval-1",
        decision_id="decision-1",
        run_id="run-1",
        mode=Mode.PAPER,
        account_id="PAPER-1",
        key_id="",
        issued_ns=1_500_000_000_000_000_000,
        expires_ns=1_500_000_005_000_000_000,
        last_send_ns=1_500_000_005_000_000_000,
        child_count=1,
        mac=b"",
    )
    return ApprovedOrder(
        action=OrderAction.OPEN, order=order, approval=approval, ts_event_ns=-1, ts_init_ns=0
    )


def samples() -> dict[str, ApprovedOrder]:
    """Orders that differ in every part that has an encoding of its own."""
    plain = plain_order()
    order, approval = plain.order, plain.approval
    child = ScheduledChild(
        role=ChildRole.SLICE,
        quantity=D("0.000000000000000001"),
        order_type=OrderType.STOP_LIMIT,
        limit_price=None,
        stop_price=D("128"),
        send_ns=-(2**63),
        last_send_ns=63,
    )
    schedule = Schedule(
        algorithm=Algorithm.TWAP, end_ns=1_500_000_060_000_000_000, children=(child, child)
    )
    wide = replace(
        order,
        group_id="größe · 群 · \U0001f4c8",
        quantity=D("99999999999999999999.999999999999999999"),
        limit_price=D("-0.5"),
        expire_time_ns=2**63 - 1,
        side=Side.SELL,
        time_in_force=TimeInForce.GTD,
    )
    return {
        "a limit order": plain,
        "a market order": replace(
            plain, order=replace(order, order_type=OrderType.MARKET, limit_price=None)
        ),
        "a cancel": replace(plain, action=OrderAction.CANCEL),
        "what is far out": replace(plain, order=wide),
        "a schedule": replace(plain, approval=replace(approval, child_count=2, schedule=schedule)),
        "live": replace(plain, approval=replace(approval, mode=Mode.LIVE)),
        "empty names": replace(plain, order=replace(order, venue="", group_id="")),
    }


def as_json(value: Any) -> Any:
    """A record as plain JSON: decimals as text, bytes as hex."""
    if hasattr(value, "to_avro"):
        return {name: as_json(getattr(value, name)) for name in value.to_avro()}
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple | list):
        return [as_json(item) for item in value]
    return getattr(value, "value", value)


def ring(active: str) -> KeyRing:
    return KeyRing.of(SECRETS, active=active, revoked=frozenset())


def recorded() -> list[dict[str, Any]]:
    if os.environ.get("TAPELINE_TEST_RECORD"):
        found = [
            {"name": name, "key_id": key_id, "approved": as_json(seal(approved, ring(key_id)))}
            for name, approved in samples().items()
            for key_id in SECRETS
        ]
        text = {
            "secrets": {key_id: secret.hex() for key_id, secret in SECRETS.items()},
            "fingerprint": schema_of(ApprovedOrder.AVRO).header[2:].hex(),
            "approvals": found,
        }
        GOLDEN.write_text(json.dumps(text, indent=1, ensure_ascii=False) + "\n")
    golden: dict[str, Any] = json.loads(GOLDEN.read_text())
    assert golden["secrets"] == {key_id: secret.hex() for key_id, secret in SECRETS.items()}
    assert golden["fingerprint"] == schema_of(ApprovedOrder.AVRO).header[2:].hex(), "record anew"
    return list(golden["approvals"])


RECORDED = recorded()
NAMES = [f"{one['name']} under {one['key_id']}" for one in RECORDED]


@pytest.mark.parametrize("one", RECORDED, ids=NAMES)
def test_both_implementations_compute_the_recorded_code(one: dict[str, Any]) -> None:
    approved = samples()[one["name"]]
    sealed = seal(approved, ring(one["key_id"]))
    assert as_json(sealed) == one["approved"]
    assert seal_verdict(sealed, ring("2026-01")) == ""
    secret = SECRETS[one["key_id"]]
    code = independent_seal.code(SCHEMAS, one["approved"], one["key_id"], secret)
    assert code.hex() == one["approved"]["approval"]["mac"]


@pytest.mark.parametrize("one", RECORDED, ids=NAMES)
def test_the_other_implementation_notices_what_is_changed(one: dict[str, Any]) -> None:
    secret, approved = SECRETS[one["key_id"]], one["approved"]
    mac = approved["approval"]["mac"]
    changed = {**approved, "order": {**approved["order"], "quantity": "1.500000000000000001"}}
    assert independent_seal.code(SCHEMAS, changed, one["key_id"], secret).hex() != mac
    assert independent_seal.code(SCHEMAS, approved, "2026-03", secret).hex() != mac


def test_schemas_have_the_fingerprints_that_the_specification_gives_them() -> None:
    for name in SCHEMAS.files:
        if SCHEMAS.files[name]["type"] == "record":
            text = SCHEMAS.canonical(name, {})
            assert independent_seal.fingerprint(text) == schema_of(name).header[2:], name
