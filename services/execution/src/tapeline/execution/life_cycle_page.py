"""Writes docs/order-life-cycle.md: python -m tapeline.execution.life_cycle_page PATH."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from tapeline.contracts.orders import OrderStatus
from tapeline.execution.order_table import TERMINAL, TRANSITIONS, Trigger, diagram

HEAD: Final = """\
# Order life cycle

Generated from `services/execution/src/tapeline/execution/order_table.py` by
`python -m tapeline.execution.life_cycle_page docs/order-life-cycle.md`. Do not edit.

Denied is our own no, rejected the venue's. Terminal states absorb: what still arrives for such an
order is booked if it is a fill, reported as an incident, and changes nothing else. In `UNKNOWN` the
venue may or may not hold the order; its exposure stays reserved until the venue says which.
A trigger that a state does not list cannot happen; if a venue reports it all the same, the order
stays as it is and an incident is raised.
"""


def page() -> str:
    """The whole page."""
    return f"{HEAD}\n```mermaid\n{diagram()}\n```\n\n{_table()}\n"


def _table() -> str:
    lines = ["| state | trigger | next state |", "|---|---|---|"]
    for (before, trigger), after in TRANSITIONS.items():
        if before not in TERMINAL:
            lines.append(f"| {before.value} | {trigger.value} | {after.value} |")
    names = ", ".join(status.value for status in TERMINAL)
    lines.append(f"| {names} | any of {len(Trigger)} | itself |")
    assert {before for before, _ in TRANSITIONS} == set(OrderStatus), "a status has no row"
    return "\n".join(lines)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
