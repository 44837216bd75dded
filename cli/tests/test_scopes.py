"""Scopes of the kill switch: what a run has, and what is not ACTIVE in it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from tapeline.cli.commands.halting import NoReason, Word, _cleared, require_reason
from tapeline.cli.records import Found
from tapeline.cli.scopes import BY_HAND, as_asked, in_force, known_names
from tapeline.contracts.config import Account, TradingGroup
from tapeline.contracts.control import ScopeKind, SwitchLevel
from tapeline.contracts.risk import TradingState, TradingStateChanged
from tapeline.runtime.log import Raw
from tapeline.runtime.trips import parsed_scope

RAW = Raw("risk-events", 0, 0, 0, b"", b"", ())


def some(kind: Any, **values: Any) -> Any:
    """A record with the fields that matter here."""
    return kind(**{**{one.name: None for one in fields(kind)}, **values})


def changed(scope: str, state: TradingState, sequence: int, reason: str = "why") -> Any:
    return some(TradingStateChanged, scope=scope, state=state, sequence=sequence, reason=reason)


@dataclass
class Records:
    """Stands in for the topics of a run."""

    records: list[Any]

    def all(self, _topic: str, kind: Any) -> list[Found]:
        return [Found(RAW, one) for one in self.records if isinstance(one, kind)]


def records(*found: Any) -> Any:
    return Records(list(found))


def test_names_of_a_scope_are_those_of_the_configuration() -> None:
    found = records(
        some(Account, account_id="B"),
        some(Account, account_id="A"),
        some(Account, account_id="A"),
        some(TradingGroup, group_id="trend"),
    )
    assert known_names(found, ScopeKind.ACCOUNT) == ["A", "B"]
    assert known_names(found, ScopeKind.GROUP) == [BY_HAND, "trend"]
    assert known_names(found, ScopeKind.STRATEGY) == [BY_HAND, "trend"]
    assert known_names(found, ScopeKind.VENUE) == []
    assert known_names(found, ScopeKind.ALL) == [""]


def test_what_is_in_force_is_the_highest_number_of_each_scope() -> None:
    found = records(
        changed("ALL/", TradingState.HALTED, 1),
        changed("ALL/", TradingState.ACTIVE, 3),
        changed("ALL/", TradingState.HALTED, 2),
        changed("GROUP/trend", TradingState.HALTED, 4, "it ran away"),
        changed("ACCOUNT/A", TradingState.REDUCING, 5),
    )
    assert [str(one) for one in in_force(found)] == [
        "REDUCING account:A (why)",
        "HALTED group:trend (it ran away)",
    ]
    assert as_asked("ALL/") == "all"
    besides = parsed_scope("account:A")
    assert [one.scope for one in in_force(found, besides)] == ["group:trend"]
    halted = records(changed("ALL/", TradingState.HALTED, 1))
    assert in_force(halted, parsed_scope("all")) == []


@pytest.mark.parametrize("reason", ["", " ", "\n"])
def test_what_is_signed_says_why(reason: str) -> None:
    with pytest.raises(NoReason):
        require_reason(reason)


def test_a_resume_removes_whatever_has_halted_its_scope(tmp_path: Path) -> None:
    (tmp_path / "halt").mkdir()
    (tmp_path / "halt-1").touch()
    (tmp_path / "halt-2").symlink_to("nowhere")
    (tmp_path / "halt-3").mkdir()
    (tmp_path / "halt-3" / "kept").touch()
    (tmp_path / "halt-4").write_text('{"scope": "account:A"}')
    word = some(Word, level=SwitchLevel.RESUME, scope="all", number=2**62)
    said = _cleared(tmp_path, word)
    assert said[:3] == ["halt removed", "halt-1 removed", "halt-2 removed"]
    assert "halt-3 stays" in said[3]
    assert len(said) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["halt-3", "halt-4"]
