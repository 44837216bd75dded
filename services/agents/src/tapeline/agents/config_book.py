"""What the config topic says, for triggers and groups: the newest version of each record.

In: config records in the topic's order. Invariant: a version not above the one held is ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tapeline.contracts.config import Account, Instrument, TradingGroup, Trigger


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigBook:
    """Records by their entity id."""

    triggers: Mapping[str, Trigger] = field(default_factory=dict)
    groups: Mapping[str, TradingGroup] = field(default_factory=dict)
    accounts: Mapping[str, Account] = field(default_factory=dict)
    instruments: Mapping[str, Instrument] = field(default_factory=dict)

    def with_record(self, record: Any) -> ConfigBook:
        """With one more record; the same book where it is old or of another kind."""
        match record:
            case Trigger():
                return self._with("triggers", self.triggers, record.trigger, record)
            case TradingGroup():
                return self._with("groups", self.groups, record.group_id, record)
            case Account():
                return self._with("accounts", self.accounts, record.account_id, record)
            case Instrument():
                return self._with("instruments", self.instruments, record.instrument_id, record)
            case _:
                return self

    def _with(self, name: str, held: Mapping[str, Any], key: str, record: Any) -> ConfigBook:
        if key in held and record.version <= held[key].version:
            return self
        changes: dict[str, Any] = {name: {**held, key: record}}
        return replace(self, **changes)


def book_of(records: Iterable[Any]) -> ConfigBook:
    """The book after all of these."""
    book = ConfigBook()
    for record in records:
        book = book.with_record(record)
    return book
