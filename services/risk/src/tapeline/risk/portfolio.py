"""Accounts as risk sees them, for everyone else."""

from __future__ import annotations

from tapeline.accounting.numbers import ONE, ZERO, bounded
from tapeline.contracts import topics
from tapeline.contracts.frozen import replace
from tapeline.contracts.risk import PortfolioSnapshot, PositionSnapshot
from tapeline.risk import switchboard
from tapeline.risk.answers import Scribe
from tapeline.risk.appraisal import Appraiser
from tapeline.risk.books import LOOK_AGAIN_NS
from tapeline.risk.state import AccountState, RiskState
from tapeline.risk.worth import Worth, price_of
from tapeline.runtime.core import Output


def due(state: RiskState, now_ns: int) -> list[str]:
    """Accounts whose worth is to be looked at."""
    return sorted(
        account_id
        for account_id, account in state.accounts.items()
        if account.due_ns is not None and account.due_ns <= now_ns
    )


def next_due_ns(state: RiskState) -> int | None:
    """When the first of them is."""
    times = [account.due_ns for account in state.accounts.values() if account.due_ns is not None]
    return min(times, default=None)


def snapshots(state: RiskState, scribe: Scribe, appraiser: Appraiser) -> tuple[Output, ...]:
    """Snapshots of the accounts that are due and changed, or are worth something else."""
    found = []
    for account_id in due(state, scribe.now_ns):
        account = state.accounts[account_id]
        worth = appraiser.worth(state, account)
        if worth is not None and (account.is_changed or worth.nav != account.curve.last):
            found.append(_snapshot(state, scribe, account, worth))
    return tuple(found)


def look(state: RiskState, appraiser: Appraiser, now_ns: int) -> None:
    """Notes the NAV of the accounts that are due, and when to look again."""
    for account_id in due(state, now_ns):
        account = state.accounts[account_id]
        worth = appraiser.worth(state, account)
        curve = account.curve if worth is None else account.curve.observe(worth.nav, now_ns)
        is_still = not account.reserves and not account.ledger.lines
        due_ns = None if is_still and worth is not None else now_ns + LOOK_AGAIN_NS
        state.accounts[account_id] = replace(account, curve=curve, due_ns=due_ns)


def published(state: RiskState, record: PortfolioSnapshot) -> None:
    """Notes that a snapshot went out."""
    account = state.accounts[record.account_id]
    state.accounts[record.account_id] = replace(
        account, is_changed=False, snapshot_ns=record.ts_init_ns
    )


def _snapshot(state: RiskState, scribe: Scribe, account: AccountState, worth: Worth) -> Output:
    config, now_ns = account.account, scribe.now_ns
    curve = account.curve.observe(worth.nav, now_ns)
    scopes = switchboard.scopes_of(config.account_id, "", "", config.venue)
    record = PortfolioSnapshot(
        account_id=config.account_id,
        currency=config.base_currency,
        cash=bounded(worth.cash),
        nav=bounded(worth.nav),
        peak_nav=bounded(curve.peak),
        day_start_nav=bounded(curve.day_start),
        gross_exposure=bounded(worth.gross),
        net_exposure=bounded(worth.net),
        pending_exposure=bounded(worth.pending_value),
        open_order_count=account.open_order_count,
        trading_state=switchboard.strictest(state, scopes),
        positions=_positions(state, account),
        approved_count=account.approved_count,
        denied_count=account.denied_count,
        ts_event_ns=now_ns,
        ts_init_ns=now_ns,
    )
    cause = scribe.event.event_id or str(now_ns)
    return Output(
        topic=topics.PORTFOLIO,
        key=config.account_id,
        record=record,
        event_id=scribe.derived(cause, f"{PortfolioSnapshot.AVRO}/{config.account_id}"),
    )


def _positions(state: RiskState, account: AccountState) -> tuple[PositionSnapshot, ...]:
    found = []
    for instrument_id, lines in account.ledger.lines.items():
        instrument = state.instruments.get(instrument_id)
        multiplier = ONE if instrument is None else instrument.multiplier
        price = price_of(state, instrument_id) or ZERO
        found += [
            PositionSnapshot(
                group_id=group_id,
                instrument_id=instrument_id,
                quantity=line.quantity,
                average_price=bounded(line.average_price(multiplier)),
                mark_price=price,
                realized_pnl=bounded(line.realized_pnl),
                unrealized_pnl=bounded(line.unrealized_pnl(price, multiplier)),
                commission=line.commission,
            )
            for group_id, line in lines.items()
            if not line.is_empty()
        ]
    return tuple(sorted(found, key=lambda item: (item.group_id, item.instrument_id)))
