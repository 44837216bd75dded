"""The live view of a run in the terminal: rates per topic, groups, accounts, denials."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from decimal import Decimal

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table

from tapeline.cli.records import short, utc
from tapeline.cli.tally import Tally
from tapeline.runtime import clock

RATE_WINDOW_S = 5.0
WIDTH = 160
SHOWN = (
    "ticks",
    "bars",
    "marks",
    "signals",
    "decisions",
    "approved-orders",
    "risk-events",
    "order-updates",
    "fills",
    "llm-calls",
    "discussions",
)


class Rates:
    """Records a second over the last few seconds."""

    def __init__(self, counts: Callable[[], dict[str, int]]) -> None:
        self._counts = counts
        self._seen: deque[tuple[float, dict[str, int]]] = deque()

    def now(self) -> list[tuple[str, int, float]]:
        """(topic, records so far, records a second)."""
        current, now_s = self._counts(), clock.monotonic_s()
        self._seen.append((now_s, current))
        while len(self._seen) > 2 and now_s - self._seen[0][0] > RATE_WINDOW_S:
            self._seen.popleft()
        then_s, then = self._seen[0]
        passed = max(now_s - then_s, 0.001)
        return [
            (topic, count, (count - then.get(topic, 0)) / passed)
            for topic, count in current.items()
        ]


def money(value: Decimal) -> str:
    """Two places and thousands, for people."""
    return f"{value:,.2f}"


def view(
    title: str, tally: Tally, rates: list[tuple[str, int, float]], note: str
) -> RenderableType:
    """One picture of the run."""
    topics = Table("topic", "records", "per second", box=None, pad_edge=False)
    for topic, count, rate in rates:
        topics.add_row(topic, f"{count:,}", f"{rate:,.0f}")
    for column in topics.columns[1:]:
        column.justify = "right"
    right = Group(groups_table(tally), "", accounts_table(tally), "", denials_line(tally))
    grid = Table.grid(padding=(0, 4))
    grid.add_row(topics, right)
    return Panel(Group(grid, "", note), title=title, title_align="left", padding=(1, 2))


def groups_table(tally: Tally) -> Table:
    """What each group has done."""
    names = ("group", "decisions", "fills", "fees", "realized P&L", "unrealized P&L")
    table = Table(*names, box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for name in sorted(tally.groups):
        group = tally.groups[name]
        realized, unrealized = tally.profit(name)
        table.add_row(
            name,
            f"{group.decisions:,}",
            f"{group.fills:,}",
            money(group.commission),
            money(realized),
            money(unrealized),
        )
    return table


def accounts_table(tally: Tally) -> Table:
    """What each account holds."""
    table = Table("account", "NAV", "cash", "state", "positions", box=None, pad_edge=False)
    for column in table.columns[1:3]:
        column.justify = "right"
    for name in sorted(tally.portfolios):
        portfolio = tally.portfolios[name]
        held = ", ".join(
            f"{short(line.quantity)} {line.instrument_id}"
            for line in portfolio.positions
            if line.quantity
        )
        table.add_row(
            name,
            money(portfolio.nav),
            money(portfolio.cash),
            portfolio.trading_state.value,
            held or "flat",
        )
    return table


def denials_line(tally: Tally) -> str:
    """Approved and denied, by reason."""
    reasons = ", ".join(f"{code} {count}" for code, count in tally.denied.most_common(6))
    denied = tally.denied.total()
    return f"approved {tally.approved:,}   denied {denied:,}" + (f"  ({reasons})" if denied else "")


def progress_note(tally: Tally, started_s: float) -> str:
    """How far the run has come."""
    seconds = clock.monotonic_s() - started_s
    if not tally.slices:
        return f"{seconds:4.0f} s   waiting for the services to come up"
    latest = [portfolio.ts_event_ns for portfolio in tally.portfolios.values()]
    when = f", event time {utc(max(latest))[:10]}" if latest else ""
    return f"{seconds:4.0f} s   slice {min(tally.slices.values()):,}{when}"


def console(*, is_json: bool = False) -> Console:
    """Where people read; with --json, standard error."""
    found = Console(stderr=is_json, highlight=False)
    # Written to a file or a pipe, lines are not cut to a screen that is not there.
    return found if found.is_terminal else Console(stderr=is_json, highlight=False, width=WIDTH)
