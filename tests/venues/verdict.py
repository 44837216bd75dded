"""What must hold of every run, however badly the venue behaved."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal

from desk import Desk

from tapeline.contracts.orders import Fill, OrderStatus


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Counts of one run; what must be empty is."""

    orders: int
    statuses: dict[str, int]
    """of the orders' last updates"""
    unknown: int
    """orders that were UNKNOWN at some time"""
    told: dict[str, int]
    """faults of the venue that struck"""
    seconds_to_resolve: tuple[float, ...]
    """from when the venue could have answered, or the order became UNKNOWN, to the next word"""

    @property
    def p99_s(self) -> float:
        """99th percentile of the above; 0 where there is none."""
        times = sorted(self.seconds_to_resolve)
        return times[min(len(times) - 1, round(len(times) * 0.99))] if times else 0.0

    def __str__(self) -> str:
        times = sorted(self.seconds_to_resolve) or [0.0]
        return (
            f"{self.orders} orders, ended {self.statuses}, {self.unknown} were UNKNOWN; "
            f"struck {self.told}; resolved in p50 {times[len(times) // 2]:.2f} s, "
            f"p99 {self.p99_s:.2f} s, at most {times[-1]:.2f} s"
        )


def judge(run: Desk) -> Verdict:
    """Holds the run's records against the venue's ledger; raises AssertionError."""
    ledger = run.venue.ledger()
    made = Counter(order["client_order_id"] for order in ledger["orders"])
    assert [name for name, count in made.items() if count > 1] == [], "duplicate orders"
    assert [name for name, count in ledger["posts"].items() if count > 1] == [], "sent twice"
    last = {update.client_order_id: update for update in run.updates()}
    lost = [
        name
        for name, update in last.items()
        if name in made
        and update.status in (OrderStatus.REJECTED, OrderStatus.DENIED)
        and held(ledger, name)
    ]
    assert lost == [], "called rejected or denied, and the venue holds them"
    ends = Counter(update.approval_id for update in run.updates() if update.is_terminal)
    assert [name for name, count in ends.items() if count > 1] == [], "ended twice"
    trades = Counter(fill.trade_id for fill in run.of(Fill))
    assert [name for name, count in trades.items() if count > 1] == [], "booked twice"
    for name, update in last.items():
        filled = sum((f.quantity for f in run.of(Fill) if f.client_order_id == name), Decimal(0))
        assert filled <= update.quantity, f"{name} is filled beyond its quantity"
    assert run.folded() == run.at_venue() == run.at_risk()
    assert ledger["requests_in_ban"] == 0
    return Verdict(
        orders=len(last),
        statuses=dict(Counter(update.status.value for update in last.values())),
        unknown=len({one.client_order_id for one in run.updates() if is_unknown(one)}),
        told=ledger["told"],
        seconds_to_resolve=tuple(times_to_resolve(run, ledger["answering"])),
    )


def held(ledger: dict[str, object], name: str) -> bool:
    """Whether the venue has an order of that id which is not rejected there."""
    orders = ledger["orders"]
    assert isinstance(orders, list)
    return any(
        order["client_order_id"] == name and order["status"] != "REJECTED" for order in orders
    )


def is_unknown(update: object) -> bool:
    """Whether a step leads to UNKNOWN."""
    return getattr(update, "status", None) is OrderStatus.UNKNOWN


def times_to_resolve(run: Desk, answering: dict[str, float]) -> list[float]:
    """For each order that was UNKNOWN: how long it stayed so once the venue could answer."""
    since: dict[str, float] = {}
    found: list[float] = []
    with run._lock:
        seen = [one for one in run.found if one.topic == "order-updates"]
    for one in seen:
        name = getattr(one.record, "client_order_id", "")
        if is_unknown(one.record):
            since.setdefault(name, one.seen_s)
        elif name in since:
            began = max(since.pop(name), answering.get(name, 0.0))
            # An order that never arrived is resolved when its time is over, by our own rule.
            if name in answering:
                found.append(max(one.seen_s - began, 0.0))
    return found
