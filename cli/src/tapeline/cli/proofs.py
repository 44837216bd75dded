"""Puts a finished run to the proof: audit chains, one order's lineage, replay."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from tapeline.audit.bulk import KafkaRecords
from tapeline.audit.inspection import verify_run
from tapeline.audit.lineage import Lineage, trace
from tapeline.audit.settings import AuditSettings
from tapeline.audit.verify import Report
from tapeline.backtest.execution_rules import cores_under
from tapeline.backtest.run_replay import RunReplay, name_of, replay_run
from tapeline.backtest.strategies import offer_kept
from tapeline.cli.records import TopicRecords, utc
from tapeline.cli.runs import Run, strategies_of
from tapeline.contracts import topics
from tapeline.contracts.orders import ApprovedOrder, Fill
from tapeline.runtime import clock
from tapeline.runtime.keys import SEAL_FOLDER, KeyRing
from tapeline.runtime.settings import KafkaSettings
from tapeline.runtime.signing import seal_verdict

if TYPE_CHECKING:
    from tapeline.cli.session import Session

DIGEST_SHOWN = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Seals:
    """Signatures of recorded approvals, verified with the keys that are still there."""

    verified: int
    unknown: int
    """signed with a key that is gone"""
    wrong: int

    @property
    def line(self) -> str:
        """In one line."""
        text = f"approvals: {self.verified:,} signatures verified"
        if self.unknown:
            text += f", {self.unknown:,} signed with keys that are gone"
        return text + (f", {self.wrong:,} WRONG" if self.wrong else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What was proved of a run."""

    report: Report
    lineage: Lineage | None
    replay: RunReplay
    seals: Seals

    @property
    def audit_ok(self) -> bool:
        """Every chain is whole and nothing outside it is waiting."""
        return self.report.is_intact and self.report.row_count > 0

    @property
    def lineage_ok(self) -> bool:
        """One order leads from its ticks to its fill without a gap."""
        return self.lineage is not None and self.lineage.is_complete and bool(self.lineage.fills)

    @property
    def audit(self) -> dict[str, Any]:
        """The audit as plain values."""
        return audit_facts(self.report)

    @property
    def audit_line(self) -> str:
        """The audit in one line."""
        return audit_line(self.report)


def audit_facts(report: Report) -> dict[str, Any]:
    """A report as plain values."""
    return {
        "intact": report.is_intact,
        "rows": report.row_count,
        "ranges": report.range_count,
        "chains": report.chain_count,
        "anchors": report.anchor_count,
        "findings": [str(finding.reason) for finding in report.findings],
        "pending": sum(report.pending.values()),
    }


def audit_line(report: Report) -> str:
    """A report in one line."""
    if not report.is_intact:
        bad = report.first_bad
        assert bad is not None
        return (
            f"audit: {report.finding_count} findings; the first: {bad.topic}-{bad.partition} "
            f"offset {bad.offset}: {bad.reason}"
        )
    return (
        f"audit: chains verified, {report.row_count:,} rows and {report.range_count:,} ranges of "
        f"bulk topics in {report.chain_count:,} chains, {report.anchor_count:,} anchors, "
        f"{sum(report.pending.values()):,} records not chained yet"
    )


def prove(session: Session, records: TopicRecords, console: Console) -> Proof:
    """All three proofs; the services have ended, the servers still run."""
    endpoints = session.stack.endpoints
    assert endpoints is not None
    settings = session.kafka_settings(endpoints)
    console.print("  verifying the audit chains", style="dim")
    report = verified(session.run, settings, session.folder, endpoints.database_url)
    console.print("  tracing one order from tick to fill", style="dim")
    fills = records.all(topics.FILLS, Fill)
    lineage = None
    if fills:
        order_id = fills[-1].record.client_order_id
        lineage = traced(session.run, settings, endpoints.database_url, order_id)
    console.print("  replaying the run from its topics", style="dim")
    return Proof(
        report=report,
        lineage=lineage,
        replay=replay(session.run, settings, session.folder),
        seals=verified_seals(records, session.folder),
    )


def verified(run: Run, settings: KafkaSettings, folder: Path, database_url: str) -> Report:
    """Walks along the audit chains of a run, against the anchors of the file and of the topic; the
    ranges of bulk topics are compared with what Kafka still holds."""
    return verify_run(
        AuditSettings(
            kafka_bootstrap_servers=settings.kafka_bootstrap_servers,
            topic_prefix=settings.topic_prefix,
            run_id=run.name,
            database_url=database_url,
            keys_dir=folder / "keys",
            anchors_dir=folder / "anchors",
        )
    )


def traced(run: Run, settings: KafkaSettings, database_url: str, order_id: str) -> Lineage | None:
    """The lineage of an order, bars and ticks read from Kafka."""
    with KafkaRecords(settings) as bulk:
        return trace(database_url, run.name, order_id, bulk)


def verified_seals(records: TopicRecords, folder: Path) -> Seals:
    """Verifies every recorded approval's signature."""
    ring = KeyRing.from_folder(folder / "keys" / SEAL_FOLDER)
    verdicts = Counter(
        seal_verdict(found.record, ring)
        for found in records.all(topics.APPROVED_ORDERS, ApprovedOrder)
    )
    verified, unknown = verdicts.pop("", 0), verdicts.pop("UNKNOWN_KEY", 0)
    return Seals(verified=verified, unknown=unknown, wrong=verdicts.total())


def replay(run: Run, settings: KafkaSettings, folder: Path) -> RunReplay:
    """Replays a run, with the strategy files in its folder, and measures how long that took."""
    offer_kept(strategies_of(folder))
    started_s = clock.monotonic_s()
    cores = cores_under(run.execution_rules)
    result = asyncio.run(replay_run(settings, run.run_id, run.shards, money_cores=cores))
    return replace(result, seconds=clock.monotonic_s() - started_s)


def replay_facts(result: RunReplay) -> dict[str, Any]:
    """A replay as plain values; `events` are the inputs of all parts."""
    first = next(iter(result.differences), None)
    return {
        "equal": result.is_equal,
        "events": result.inputs,
        "digest": result.digest,
        "first_difference": None if first is None else asdict(first),
        "inputs": result.inputs,
        "seconds": round(result.seconds, 2),
        "outputs": {name_of(part): dict(part.outputs) for part in result.parts()},
        "digests": result.digests(),
        "differences": [str(difference) for difference in result.differences],
    }


def show_replay(result: RunReplay, out: Console) -> None:
    """A replay for people."""
    word = "[green]EQUAL[/green]" if result.is_equal else "[red]DIFFERENT[/red]"
    rate = result.inputs / result.seconds if result.seconds else 0
    out.print(
        f"\nreplay: {word}, {result.inputs:,} inputs in {result.seconds:.1f} s "
        f"({rate:,.0f} a second)"
    )
    for part in result.parts():
        for topic, count in sorted(part.outputs.items()):
            digest = part.digests.get(topic, "")[:DIGEST_SHOWN]
            out.print(f"  {name_of(part):18} {topic:16} {count:>8,}  {digest}", style="dim")
    for difference in result.differences:
        out.print(f"[red]{difference}[/red]")


def show_lineage(proof: Proof, out: Console) -> None:
    """The lineage of the demo's order."""
    if proof.lineage is not None:
        out.print(f"\nlineage of order {proof.lineage.identifier}")
        for line in lineage_lines(proof.lineage):
            out.print("  " + line, highlight=False)


def lineage_lines(lineage: Lineage) -> list[str]:
    """One line a step, from the ticks to the fills."""
    lines = [
        f"{'ticks':16} {item.count} of {item.instrument_id}, ticks-{item.partition} offsets "
        f"{item.first_offset} to {item.last_offset}"
        for item in lineage.ticks
    ]
    named = (
        ("bar", lineage.bars),
        ("cause", lineage.causes),
        ("signal", lineage.signals),
        ("model call", lineage.llm_calls),
        ("discussion", lineage.discussion),
        ("decision", lineage.decisions),
        ("denial", lineage.denials),
        ("approval", lineage.approvals),
        ("order update", lineage.order_updates),
        ("venue report", lineage.venue_reports),
        ("fill", lineage.fills),
    )
    for name, steps in named:
        for step in steps:
            where = f"{step.topic}-{step.partition}@{step.offset}"
            lines.append(f"{name:16} {where:24} {step_text(step.body)}")
    return lines + [f"{'gap':16} {gap}" for gap in lineage.gaps]


SHOWN = (
    "ts_event_ns",
    "trigger",
    "direction",
    "node",
    "sender",
    "status",
    "kind",
    "code",
    "action",
    "target_weight",
    "side",
    "quantity",
    "filled_quantity",
    "price",
    "close",
    "commission",
    "confidence",
    "content",
    "reason",
)
TEXT_MAX = 90


def step_text(body: Mapping[str, Any]) -> str:
    """The telling fields of a record in one line."""
    flat = {**body.get("order", {}), **body} if isinstance(body.get("order"), dict) else dict(body)
    parts = []
    for name in SHOWN:
        value = flat.get(name)
        if value in (None, "", [], {}):
            continue
        if name == "ts_event_ns":
            parts.append(utc(int(value))[:19])
        else:
            text = trimmed(str(value))
            parts.append(text if name in ("content", "reason") else f"{name} {text}")
    return "  ".join(parts)


def trimmed(text: str) -> str:
    """Without the wire's zeros, on one line, not too long."""
    text = " ".join(text.split())
    if "." in text and text.replace(".", "").replace("-", "").isdigit():
        text = text.rstrip("0").rstrip(".")
    return text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 1] + "…"
