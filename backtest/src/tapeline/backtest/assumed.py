"""What the simulator assumed in a run, from the run's configuration: for tables and reports."""

from __future__ import annotations

from collections.abc import Iterable

from tapeline.backtest.run_tables import Assumption
from tapeline.contracts.config import Account, Instrument, Venue
from tapeline.execution.venues.assumptions import assumptions_of


def assumed(records: Iterable[object]) -> tuple[Assumption, ...]:
    """The assumptions of every venue that an account of the configuration trades at (of every venue
    where there is no account), by its name where there are several. Other records are passed over;
    the last of an id counts."""
    venues: dict[str, Venue] = {}
    instruments: dict[str, Instrument] = {}
    accounts: dict[str, Account] = {}
    for record in records:
        match record:
            case Venue():
                venues[record.venue] = record
            case Instrument():
                instruments[record.instrument_id] = record
            case Account():
                accounts[record.account_id] = record
    used = {account.venue: account for account in accounts.values()}
    names = sorted(name for name in venues if name in used or not used)
    found: list[Assumption] = []
    for name in names:
        own = [one for one in instruments.values() if one.venue == name]
        listed = sorted(own or instruments.values(), key=lambda one: one.instrument_id)
        prefix = f"{name} " if len(names) > 1 else ""
        found += [
            Assumption(
                name=f"{prefix}{one.name}",
                value=one.value,
                meaning=f"{one.meaning} ({one.switch})",
                is_on=one.is_on,
            )
            for one in assumptions_of(venues[name], listed, used.get(name))
        ]
    return tuple(found)
