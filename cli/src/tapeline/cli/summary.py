"""The facts of a finished run, as data and as a page of the terminal."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

from rich.console import Console
from rich.table import Table

from tapeline.cli.proofs import Proof, replay_facts, show_lineage, show_replay
from tapeline.cli.records import TopicRecords, short
from tapeline.cli.runs import Run
from tapeline.cli.screen import accounts_table, groups_table
from tapeline.cli.watch import Watch
from tapeline.contracts import topics
from tapeline.contracts.system import Watermark


def facts_of(run: Run, watch: Watch, proof: Proof, seconds: float) -> dict[str, Any]:
    """Everything the summary shows; plain values."""
    tally = watch.tally
    latency = chain_latency_ms(watch.records, tally.approval_times)
    counts = watch.records.counted(list(topics.TOPICS))
    checks = {
        "orders were approved": tally.approved > 0,
        "every approval ended or rests at its venue": tally.resting == len(tally.unended),
        "fills came back": bool(tally.records[topics.FILLS]),
        "audit chain verified": proof.audit_ok,
        "one order traced from tick to fill": proof.lineage_ok,
        "every approval's signature verified": proof.seals.verified == tally.approved > 0,
        "replay equal byte for byte": proof.replay.is_equal,
    }
    if not run.is_paced:
        del checks["every approval ended or rests at its venue"]
    return {
        "ok": all(checks.values()),
        "checks": checks,
        "run": run.name,
        "run_id": run.run_id,
        "source": run.source,
        "is_synthetic": run.is_synthetic,
        "seconds": round(seconds, 1),
        "topics": {name: count for name, count in counts.items() if count},
        "approved": tally.approved,
        "denied": dict(tally.denied),
        "refused_by_execution": dict(tally.refused),
        "orders": dict(tally.terminal),
        "orders_resting": tally.resting,
        "groups": {
            name: {
                "decisions": group.decisions,
                "fills": group.fills,
                "fees": short(group.commission),
                "currency": group.currency,
                "realized_pnl": short(tally.profit(name)[0]),
                "unrealized_pnl": short(tally.profit(name)[1]),
            }
            for name, group in sorted(tally.groups.items())
        },
        "latency_ms": latency,
        "incidents": dict(tally.incidents),
        "quarantined": tally.quarantined,
        "audit": proof.audit,
        "replay": replay_facts(proof.replay),
        "approvals_verified": proof.seals.verified,
        "_tally": tally,
        "_proof": proof,
    }


def chain_latency_ms(
    records: TopicRecords, approvals: list[tuple[int, int]]
) -> dict[str, float | int]:
    """Wall time from the last tick of a slice on Kafka to the approved order on Kafka.

    Both are broker append times, in ms; p50 and p99 over all approved orders."""
    ends: dict[int, int] = {}
    for found in records.all(topics.TICKS, Watermark):
        ends[found.record.ts_event_ns] = max(
            ends.get(found.record.ts_event_ns, 0), found.raw.append_ms
        )
    moments = sorted(ends)
    waits = []
    for issued_ns, append_ms in approvals:
        index = min(bisect_left(moments, issued_ns), len(moments) - 1)
        if index >= 0:
            waits.append(append_ms - ends[moments[index]])
    waits = sorted(wait for wait in waits if wait >= 0)
    if not waits:
        return {"orders": 0}
    return {
        "orders": len(waits),
        "p50": waits[len(waits) // 2],
        "p99": waits[min(len(waits) - 1, int(len(waits) * 0.99))],
    }


def show(facts: dict[str, Any], out: Console) -> None:
    """The page."""
    tally, proof = facts["_tally"], facts["_proof"]
    out.rule(f"[bold]{facts['run']}[/bold] · {facts['source']}", align="left")
    table = Table("topic", "records", box=None, pad_edge=False)
    table.columns[1].justify = "right"
    for name, count in facts["topics"].items():
        table.add_row(name, f"{count:,}")
    right = Table.grid(padding=(0, 0))
    right.add_row(groups_table(tally))
    right.add_row("")
    right.add_row(accounts_table(tally))
    right.add_row("")
    right.add_row(orders_lines(facts))
    grid = Table.grid(padding=(0, 4))
    grid.add_row(table, right)
    out.print(grid)
    show_lineage(proof, out)
    show_replay(proof.replay, out)
    out.print(proof.audit_line)
    out.print(proof.seals.line)
    for name, held in facts["checks"].items():
        out.print(f"{'[green]✓[/green]' if held else '[red]✗[/red]'} {name}")
    out.print(f"[dim]{facts['seconds']} s in all[/dim]")
    out.print(
        "\nNext: `tapeline trace ORDER` for any order, `tapeline up` to keep a run going, "
        "docs/architecture.md for how it works."
    )


def orders_lines(facts: dict[str, Any]) -> str:
    """Approved, denied by reason, how orders ended, and how long the chain took."""
    denied = ", ".join(f"{code} {count}" for code, count in sorted(facts["denied"].items()))
    ended = ", ".join(f"{status} {count}" for status, count in sorted(facts["orders"].items()))
    latency = facts["latency_ms"]
    lines = [
        f"approved {facts['approved']:,}, denied {sum(facts['denied'].values()):,}"
        + (f" ({denied})" if denied else ""),
        f"orders ended: {ended or 'none'}"
        + (f"; {facts['orders_resting']:,} rest at their venue" if facts["orders_resting"] else ""),
    ]
    if latency["orders"]:
        lines.append(
            f"slice end to approved order: p50 {latency['p50']} ms, p99 {latency['p99']} ms "
            f"over {latency['orders']:,} orders"
        )
    return "\n".join(lines)
