from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from execution_samples import (
    Driver,
    approved,
    cancel,
    cancel_all,
    dec,
    flatten,
    limit,
    order,
    ready,
    set_state,
    updates,
)

from tapeline.contracts import topics
from tapeline.contracts.orders import (
    Algorithm,
    Approval,
    ApprovedOrder,
    CommandKind,
    Mode,
    Order,
    OrderAction,
    OrderType,
    OrderUpdate,
    Schedule,
    Side,
    TimeInForce,
)
from tapeline.contracts.risk import TradingState
from tapeline.execution.app import make_service
from tapeline.execution.last_look import LastLook, UnapprovedCommand
from tapeline.execution.settings import ExecutionSettings
from tapeline.runtime.exits import USAGE
from tapeline.runtime.settings import SettingsError, load_settings
from tapeline.runtime.signing import (
    OPERATOR_FOLDER,
    SEAL_FOLDER,
    KeyMissing,
    KeyRing,
    Signer,
    create_secret,
    create_signer,
    seal,
    sign,
)

RING = KeyRing.of({"k1": b"s" * 32}, "k1", frozenset())


@pytest.fixture
def keys_dir(tmp_path: Path) -> Path:
    create_secret(tmp_path / SEAL_FOLDER, "k1")
    create_signer(tmp_path / "private", tmp_path / OPERATOR_FOLDER, "op")
    return tmp_path


def sent(driver: Driver, record: ApprovedOrder) -> OrderUpdate:
    update = updates(driver.step(record))[0]
    assert update.command is not None
    return update


def mutations(record: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The record once for each field, that field changed."""
    other: dict[type, Any] = {
        Side: Side.SELL,
        OrderType: OrderType.LIMIT,
        TimeInForce: TimeInForce.FOK,
        Mode: Mode.LIVE,
        OrderAction: OrderAction.FLIP,
    }
    for field in fields(record):
        value, name = getattr(record, field.name), f"{path}{field.name}"
        if hasattr(value, "AVRO"):
            for inner, changed in mutations(value, f"{name}."):
                yield inner, replace(record, **{field.name: changed})
        elif type(value) in other:
            yield name, replace(record, **{field.name: other[type(value)]})
        elif isinstance(value, bool):
            yield name, replace(record, **{field.name: not value})
        elif isinstance(value, str | bytes):
            extra = "x" if isinstance(value, str) else b"x"
            yield name, replace(record, **{field.name: value + extra})  # type: ignore[operator]
        elif field.name == "schedule":
            empty = Schedule(algorithm=Algorithm.TWAP, children=())
            yield name, replace(record, schedule=empty)
        elif value is None:
            number = 7 if field.name.endswith("_ns") else dec(7)
            yield name, replace(record, **{field.name: number})
        else:
            yield name, replace(record, **{field.name: value + 1})


MUTATED = list(mutations(seal(approved(order()), RING)))


def test_every_field_of_an_approval_is_mutated_in_these_tests() -> None:
    assert len(MUTATED) == len(fields(Order)) + len(fields(Approval)) + 3


@pytest.mark.parametrize(("name", "record"), MUTATED, ids=[name for name, _ in MUTATED])
def test_a_changed_approval_is_stopped_on_the_way_out_too(name: str, record: ApprovedOrder) -> None:
    genuine = sent(ready(), seal(approved(order()), RING))
    assert genuine.command is not None
    forged = replace(genuine, command=replace(genuine.command, approved=record))
    look = LastLook(RING)
    look.check(genuine)
    with pytest.raises(UnapprovedCommand):
        look.check(forged)


@pytest.mark.parametrize(
    "changes",
    [
        {"client_order_id": "o2"},
        {"quantity": dec(11)},
        {"venue": "OTHER"},
        {"child_index": 1},
        {"child_index": -1},
    ],
)
def test_a_command_beside_its_approval_is_stopped(changes: dict[str, Any]) -> None:
    update = sent(ready(), seal(approved(order()), RING))
    assert update.command is not None
    with pytest.raises(UnapprovedCommand):
        LastLook(RING).check(replace(update, command=replace(update.command, **changes)))


@pytest.mark.parametrize(
    "changes",
    [
        {"client_order_id": "o2"},
        {"account_id": "a2"},
        {"instrument_id": "QQQ.ARCA"},
        {"approval_id": "x"},
    ],
)
def test_an_update_beside_its_approval_is_stopped(changes: dict[str, Any]) -> None:
    update = sent(ready(), seal(approved(order()), RING))
    with pytest.raises(UnapprovedCommand):
        LastLook(RING).check(replace(update, **changes))


def test_the_approval_of_a_cancel_submits_nothing() -> None:
    driver = ready()
    driver.step(seal(approved(limit("o1", "90")), RING))
    update = sent(driver, seal(cancel(limit("o1", "90")), RING))
    assert update.command is not None
    LastLook(RING).check(update)
    submit = replace(update, command=replace(update.command, kind=CommandKind.SUBMIT))
    with pytest.raises(UnapprovedCommand, match="for a cancel"):
        LastLook(RING).check(submit)


@pytest.mark.parametrize("kind", [CommandKind.SUBMIT, CommandKind.CANCEL])
def test_the_kill_switch_cancels_under_a_key_that_was_revoked(kind: CommandKind) -> None:
    update = sent(ready(), seal(approved(order()), RING))
    assert update.command is not None
    update = replace(update, command=replace(update.command, kind=kind))
    later = KeyRing.of({"k2": b"t" * 32}, "k2", frozenset({"k1"}))
    if kind is CommandKind.CANCEL:
        LastLook(later).check(update)
    else:
        with pytest.raises(UnapprovedCommand, match="REVOKED_KEY"):
            LastLook(later).check(update)


def test_what_carries_no_command_passes() -> None:
    driver = ready()
    said = driver.step(approved(order("o1"), run_id="other"))
    LastLook(RING).check(updates(said)[0])
    LastLook(RING).check(said)


def test_the_shell_examines_approvals_and_control(keys_dir: Path) -> None:
    service = make_service(ExecutionSettings(keys_dir=keys_dir, shards=(0,)))
    ring = KeyRing.from_folder(keys_dir / SEAL_FOLDER)
    genuine = seal(approved(order()), ring)
    assert service.verdict(topics.APPROVED_ORDERS, genuine) == ""
    assert service.verdict(topics.APPROVED_ORDERS, approved(order())) == "BAD_MAC"
    assert service.verdict(topics.APPROVED_ORDERS, seal(approved(order()), RING)) == "BAD_MAC"
    unsigned = approved(order(), mac=b"")
    assert service.verdict(topics.APPROVED_ORDERS, unsigned) == "UNSIGNED"
    foreign = approved(order(), key_id="k9")
    assert service.verdict(topics.APPROVED_ORDERS, foreign) == "UNKNOWN_KEY"
    signer = Signer.from_file(keys_dir / "private" / "op.key")
    for record in (set_state(TradingState.HALTED), cancel_all(), flatten()):
        assert service.verdict(topics.CONTROL, record) == "BAD_SIGNATURE"
        assert service.verdict(topics.CONTROL, sign(record, signer)) == ""


def test_the_service_is_wired_for_execution(keys_dir: Path) -> None:
    made = ExecutionSettings(keys_dir=keys_dir, shards=(0,), risk_heartbeat_ms_max=500)
    service = make_service(made)
    core = service.make_core(ready().core.context)
    assert (service.name, service.slot) == ("execution", 1)
    assert service.check is not None
    assert core.next_due_ns(core.initial()) is None
    assert made.rules().risk_heartbeat_age_ns_max == 500_000_000


def test_without_keys_it_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="TAPELINE_KEYS_DIR is not set"):
        make_service(ExecutionSettings(shards=(0,)))
    with pytest.raises(KeyMissing):
        make_service(ExecutionSettings(shards=(0,), keys_dir=tmp_path))
    create_secret(tmp_path / SEAL_FOLDER, "k1")
    with pytest.raises(KeyMissing):
        make_service(ExecutionSettings(shards=(0,), keys_dir=tmp_path))


def test_an_unknown_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPELINE_EXECUTION_HEARTBEAT", "3")
    with pytest.raises(SettingsError, match="TAPELINE_EXECUTION_HEARTBEAT") as caught:
        load_settings(ExecutionSettings)
    assert caught.value.exit_code == USAGE
