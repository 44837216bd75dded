"""Where the orders of an account go, and under which symbol: by configuration alone."""

from __future__ import annotations

from tapeline.contracts.config import Account, Instrument
from tapeline.risk.state import RiskState


def venue_symbol(state: RiskState, account: Account, instrument: Instrument) -> str:
    """The instrument's symbol at the account's venue; empty where nothing says that it is traded
    there.

    An instrument is known to its own venue by its `symbol`, to others by `venue_symbols`. A venue
    that is not configured knows none.
    """
    if account.venue not in state.venues:
        return ""
    if instrument.venue == account.venue:
        return instrument.symbol
    return (instrument.venue_symbols or {}).get(account.venue, "")
