"""Orders by hand bear an operator's signature where it is live or the mandate demands it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from risk_samples import (
    ACCOUNT,
    CONTEXT,
    GROUP,
    NOW,
    Desk,
    account,
    decision,
    desk,
    group,
    instrument,
    mandate,
    mark,
    venue,
)

from tapeline.contracts.agents import Decision, DecisionKind
from tapeline.contracts.config import GroupKind, TradingGroup
from tapeline.contracts.control import ScopeKind, SetLiveSwitch
from tapeline.contracts.orders import Mode
from tapeline.contracts.risk import DenialCode
from tapeline.risk.authors import Authors
from tapeline.runtime.keys import create_secret, create_signer
from tapeline.runtime.signing import KeyRing, OperatorKeys, seal, sign_as_author

UNVERIFIED = DenialCode.AUTHOR_UNVERIFIED


def signed(**changes: Any) -> Decision:
    """What the shell has found nothing wrong with."""
    return decision(**{"run_id": CONTEXT.run_id, "key_id": "ada", "mac": b"s" * 64, **changes})


def scene(mode: Mode = Mode.PAPER, *, requires_authors: bool, of: TradingGroup) -> Desk:
    """A run of a mode, whose account is switched on."""
    found = Desk(replace(CONTEXT, mode=mode.value))
    terms = mandate(requires_authors=requires_authors)
    found.tell(instrument(), account(mode=mode), terms, of, venue())
    switch = SetLiveSwitch(
        scope=ScopeKind.ACCOUNT,
        scope_id=ACCOUNT,
        is_on=True,
        sequence=1,
        operator="ada",
        reason="test",
        issued_ns=NOW,
        run_id=CONTEXT.run_id,
        key_id="ada",
        signature=b"s",
    )
    found.tell(switch, mark())
    return found


@pytest.mark.parametrize("is_a_group", [False, True])
@pytest.mark.parametrize(
    ("mode", "requires_authors", "is_signed", "passes"),
    [
        (Mode.PAPER, False, False, True),
        (Mode.PAPER, False, True, True),
        (Mode.PAPER, True, False, False),
        (Mode.PAPER, True, True, True),
        (Mode.SHADOW, False, False, True),
        (Mode.SHADOW, True, False, False),
        (Mode.LIVE, False, False, False),
        (Mode.LIVE, False, True, True),
    ],
)
def test_orders_by_hand_are_signed_where_it_is_live_or_demanded(
    mode: Mode, *, requires_authors: bool, is_signed: bool, passes: bool, is_a_group: bool
) -> None:
    kind = GroupKind.MANUAL if is_a_group else GroupKind.ALGORITHMIC
    world = scene(mode, requires_authors=requires_authors, of=group(kind=kind))
    by = {} if is_a_group else {"group_id": "MANUAL"}
    record = signed(**by) if is_signed else decision(**by)
    if passes:
        world.approved(record)
    else:
        assert world.denied(record).code is UNVERIFIED


@pytest.mark.parametrize("mode", [Mode.PAPER, Mode.LIVE])
@pytest.mark.parametrize(
    ("kind", "passes"),
    [(GroupKind.ALGORITHMIC, True), (GroupKind.LLM, True), (GroupKind.UNKNOWN, False)],
)
def test_our_own_groups_sign_nothing_and_unknown_ones_do(
    mode: Mode, kind: GroupKind, *, passes: bool
) -> None:
    world = scene(mode, requires_authors=True, of=group(kind=kind))
    if passes:
        world.approved(decision())
    else:
        assert world.denied(decision()).code is UNVERIFIED
        world.approved(signed(index=1))


def test_a_cancel_by_hand_is_signed_too_where_it_is_demanded() -> None:
    world = desk(mandate(requires_authors=True))
    approved = world.approved(decision())
    cancel = {
        "kind": DecisionKind.CANCEL,
        "client_order_id": approved.order.client_order_id,
        "group_id": "MANUAL",
    }
    assert world.denied(decision(**cancel)).code is UNVERIFIED
    world.approved(signed(**{**cancel, "index": 1}))


def test_the_shell_knows_who_orders_by_hand(tmp_path: Path) -> None:
    operators, groups = tmp_path / "operators", tmp_path / "groups"
    ada = create_signer(tmp_path / "private", operators, "ada")
    eve = create_signer(tmp_path / "elsewhere", tmp_path / "elsewhere", "eve")
    create_secret(groups / "MANUAL", "k1")
    authors = Authors(tmp_path, OperatorKeys.from_folder(operators))
    asked = decision(group_id="MANUAL", run_id="run-1")
    by_ada = sign_as_author(asked, ada)
    for record, code in (
        (asked, ""),
        (by_ada, ""),
        (replace(by_ada, target_weight=Decimal("0.5")), "AUTHOR_BAD_SIGNATURE"),
        (replace(by_ada, run_id="run-2"), "AUTHOR_BAD_SIGNATURE"),
        (replace(by_ada, mac=by_ada.mac[:32]), "AUTHOR_BAD_SIGNATURE"),
        (replace(by_ada, mac=b""), "AUTHOR_UNSIGNED"),
        (replace(by_ada, key_id=""), "AUTHOR_UNKNOWN_KEY"),
        (replace(by_ada, group_id=GROUP), "AUTHOR_KEY_MISSING"),
        (sign_as_author(asked, eve), "AUTHOR_UNKNOWN_KEY"),
        (sign_as_author(asked, replace(eve, key_id="ada")), "AUTHOR_BAD_SIGNATURE"),
        (seal(asked, KeyRing.from_folder(groups / "MANUAL")), "AUTHOR_UNKNOWN_KEY"),
    ):
        assert authors.verdict(record) == code, record
    create_signer(tmp_path / "private", operators, "bob")
    (operators / "revoked").write_text("ada\n")
    authors = Authors(tmp_path, OperatorKeys.from_folder(operators))
    assert authors.verdict(by_ada) == "AUTHOR_REVOKED_KEY"
