"""What risk may rely on at the venues: unknown orders, drift, and who may trade live.

While it is not known what a venue holds of an instrument, the instrument only reduces for that
account; drift without an instrument concerns the whole account. Both follow from what execution
says and end when execution says so. An account trades live only while its own switch is on.
"""

from __future__ import annotations

from tapeline.contracts.accounts import VenueDrift
from tapeline.contracts.control import SetLiveSwitch
from tapeline.contracts.orders import Mode, OrderStatus, OrderUpdate
from tapeline.risk.state import RiskState


def updated(state: RiskState, record: OrderUpdate) -> None:
    """Notes whether an order is unknown at its venue."""
    if record.status is OrderStatus.UNKNOWN:
        place = (record.account_id, record.instrument_id)
        state.unknown_orders[record.client_order_id] = place
    else:
        state.unknown_orders.pop(record.client_order_id, None)


def drifted(state: RiskState, record: VenueDrift) -> None:
    """Notes that our books and a venue's differ, or agree again."""
    drifts = {**state.drifts.get(record.account_id, {})}
    if record.is_open:
        drifts[record.subject] = record.instrument_id
    else:
        drifts.pop(record.subject, None)
    state.drifts[record.account_id] = drifts
    if not drifts:
        del state.drifts[record.account_id]


def switched(state: RiskState, record: SetLiveSwitch) -> None:
    """Takes an accepted live switch."""
    state.live_switches[record.scope_id] = record.is_on


def is_certain(state: RiskState, account_id: str, instrument_id: str) -> bool:
    """Whether we know what the venue holds of an instrument for an account."""
    if not state.unknown_orders and not state.drifts:
        return True
    if (account_id, instrument_id) in state.unknown_orders.values():
        return False
    concerned = state.drifts.get(account_id, {}).values()
    return "" not in concerned and instrument_id not in concerned


def is_live_withheld(state: RiskState, mode: str, account_id: str) -> bool:
    """Whether an account may not trade with real money."""
    return mode == Mode.LIVE.value and not state.live_switches.get(account_id, False)
