"""Watches a run while something it needs is away, and measures what that does.

The run is one in real time, with a dealer who never stops. Figures: how soon the money path says
that it is not ready, whether anything was sent meanwhile or too late afterwards, how often a
service was started again, how much memory each took, and how long it is until everything is caught
up with.
"""

from __future__ import annotations

import asyncio
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psutil

from proving.dealing import Dealer
from proving.oracle import JUDGED, Damage, examine, of
from proving.reading import Seen, committed
from tapeline.cli.session import Session
from tapeline.cli.stack.supervisor import Exit
from tapeline.contracts import topics
from tapeline.contracts.orders import ApprovedOrder, OrderStatus, OrderUpdate
from tapeline.contracts.risk import Denial
from tapeline.runtime import clock
from tapeline.runtime.settings import KafkaSettings

MONEY = ("risk", "execution")
AWAY_EVENT = '"event": "database_away"'
SAMPLE_S = 0.1
PROBE_S = 0.5
SENT = (OrderStatus.SUBMITTED, OrderStatus.ACCEPTED)
MEGABYTE = 1024 * 1024


class WatchedSession(Session):
    """A session as it is, that keeps what ended."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.ended: list[tuple[str, int]] = []

    def _restart(self, exited: Exit) -> float | None:
        self.ended.append((exited.name, exited.returncode))
        return super()._restart(exited)


@dataclass
class Watch:
    """Samples readiness and memory of the services from a thread."""

    session: Session
    ready: dict[str, list[tuple[float, bool]]] = field(default_factory=dict)
    """service -> (seconds, is ready) at each look"""
    memory: dict[str, list[int]] = field(default_factory=dict)
    """service -> bytes resident at each look"""
    _stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def _run(self) -> None:
        while not self._stopping.wait(SAMPLE_S):
            now_s = clock.monotonic_s()
            for name in MONEY:
                self.ready.setdefault(name, []).append((now_s, is_ready(self.session, name)))
            for child in self.session.supervisor.children:
                with suppress(psutil.Error):
                    rss = psutil.Process(child.pid).memory_info().rss
                    self.memory.setdefault(child.name, []).append(rss)

    def not_ready_after_s(self, since_s: float) -> float:
        """When the last of the money path said that it is not ready, from a moment on."""
        firsts = []
        for looks in self.ready.values():
            refused = [at_s for at_s, was_ready in looks if at_s >= since_s and not was_ready]
            firsts.append(refused[0] - since_s if refused else float("inf"))
        return max(firsts)

    def growth_mb(self, looks_before: Mapping[str, int]) -> dict[str, float]:
        """Largest memory since then over the one then, by service."""
        return {
            name: (max(sizes[looks_before[name] :]) - sizes[looks_before[name] - 1]) / MEGABYTE
            for name, sizes in self.memory.items()
            if 0 < looks_before.get(name, 0) < len(sizes)
        }

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()


def is_ready(session: Session, name: str) -> bool:
    """What /readyz says; a process that is not there is not ready."""
    path = session.folder / "ports" / name
    try:
        port = int(path.read_text())
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=PROBE_S) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError, urllib.error.URLError):
        return False


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What an outage did."""

    fault: str
    away_s: float
    decisions: int
    """that Kafka took, of the dealer and of the group"""
    approved: int
    not_ready_s: float
    """from the fault until all of the money path said so, or had ended"""
    sent_last_s: float
    """from the fault until the last thing that was sent, before it was over"""
    sent_late: int
    """orders sent on an approval that had expired, or approved on a decision too old"""
    stale: int
    """decisions that were denied for their age: they waited in the dealer's producer"""
    restarts: dict[str, int]
    grown_mb: float
    """the most that a service grew"""
    first_answer_s: float
    """from the end of the fault until the first answer"""
    caught_up_s: float
    """from the end of the fault until everything asked before was answered"""
    audit_waits: int
    """how often the audit found the database away"""
    audit_s: float
    """from the end of the fault until the audit had everything"""
    damage: Damage

    def __str__(self) -> str:
        refused = "never" if self.not_ready_s == float("inf") else f"after {self.not_ready_s:.1f} s"
        restarts = ", ".join(f"{name} {count}" for name, count in sorted(self.restarts.items()))
        return (
            f"{self.fault} away {self.away_s:.0f} s: {self.decisions} decisions, {self.approved} "
            f"approved, {self.stale} denied as stale; not ready {refused}, "
            f"last order sent {self.sent_last_s:+.1f} s, sent late {self.sent_late}; restarts "
            f"{restarts or 'none'}; memory +{self.grown_mb:.0f} MB; first answer "
            f"{self.first_answer_s:.1f} s, backlog cleared {self.caught_up_s:.1f} s, audit "
            f"{self.audit_s:.1f} s after it was back (it found the database away "
            f"{self.audit_waits} times); {self.damage}"
        )


@dataclass(kw_only=True)
class Outage:
    """One fault in one run."""

    fault: str
    session: WatchedSession
    settings: KafkaSettings
    dealer: Dealer
    watch: Watch
    audited: Callable[[], bool]
    """whether the audit holds what Kafka holds"""
    began_ns: int = 0
    ended_ns: int = 0
    _not_ready_s: float = 0.0
    _grown: dict[str, float] = field(default_factory=dict)
    _audit_s: float = 0.0

    def run(self, take: Callable[[], None], give: Callable[[], None], away_s: float) -> None:
        """Takes it away for so long, gives it back, and waits until everything is caught up."""
        looks = {name: len(sizes) for name, sizes in self.watch.memory.items()}
        take()
        # To fill a disk takes a while; it is away from now on.
        began_s, self.began_ns = clock.monotonic_s(), clock.wall_ns()
        self.attend(lambda: clock.monotonic_s() - began_s >= away_s, away_s + 60.0)
        give()
        ended_s, self.ended_ns = clock.monotonic_s(), clock.wall_ns()
        # What the dealer does from now on shows that all is as before.
        self.attend(lambda: clock.monotonic_s() - ended_s >= 5.0, 60.0)
        self._not_ready_s = self.watch.not_ready_after_s(began_s)
        self.dealer.stop()
        self.attend(self._is_answered, 120.0)
        self.attend(self._is_taken_up, 120.0)
        self.attend(self.audited, 120.0)
        self._audit_s = clock.monotonic_s() - ended_s
        self._grown = self.watch.growth_mb(looks)

    def attend(self, until: Callable[[], bool], limit_s: float) -> None:
        """Keeps the session up until the callback, asked twice a second, says so."""
        deadline_s = clock.monotonic_s() + limit_s
        next_look_s = 0.0
        while True:
            self.session.check()
            now_s = clock.monotonic_s()
            assert now_s < deadline_s, f"{self.fault}: not within {limit_s:.0f} s"
            if now_s >= next_look_s:
                if until():
                    return
                next_look_s = clock.monotonic_s() + 0.5
            time.sleep(0.05)

    def _is_answered(self) -> bool:
        found = asyncio.run(committed(self.settings, (topics.APPROVED_ORDERS, topics.RISK_EVENTS)))
        answered = {*answers(found)}
        taken = [item for item in self.dealer.dealt.values() if item.acknowledged_ns]
        return all(item.decision_id in answered for item in taken)

    def _is_taken_up(self) -> bool:
        """Execution has said something about every approval: it is back as well."""
        found = asyncio.run(
            committed(self.settings, (topics.APPROVED_ORDERS, topics.ORDER_UPDATES))
        )
        said = {item.record.approval_id for item in of(found[topics.ORDER_UPDATES], OrderUpdate)}
        approvals = of(found[topics.APPROVED_ORDERS], ApprovedOrder)
        return all(item.record.approval.approval_id in said for item in approvals)

    def figures(self, decision_age_ns_max: int, held_open: Collection[str]) -> Figures:
        """What is on the topics now; the services have ended."""
        found = asyncio.run(committed(self.settings, JUDGED))
        at_ms = answers(found)
        back_ms, gone_ms = self.ended_ns // 1_000_000, self.began_ns // 1_000_000
        asked = [item for item in found[topics.DECISIONS] if hasattr(item.record, "decision_id")]
        before = [
            at_ms[item.record.decision_id] for item in asked if item.append_ms <= back_ms + 1000
        ]
        after = [at for at in at_ms.values() if at > back_ms]
        sent = [
            item.append_ms for item in sent_updates(found) if gone_ms < item.append_ms < back_ms
        ]
        approvals = [item for item in found[topics.APPROVED_ORDERS] if is_approval(item)]
        denials = [item.record for item in found[topics.RISK_EVENTS] if is_denial(item)]
        return Figures(
            fault=self.fault,
            away_s=(self.ended_ns - self.began_ns) / 1e9,
            decisions=len(asked),
            approved=len(approvals),
            not_ready_s=self._not_ready_s,
            sent_last_s=(max(sent, default=gone_ms) - gone_ms) / 1e3,
            sent_late=sent_late(found, decision_age_ns_max),
            stale=sum(denial.code.value == "DECISION_STALE" for denial in denials),
            restarts=dict(Counter(name for name, _ in self.session.ended)),
            grown_mb=max(self._grown.values(), default=0.0),
            first_answer_s=(min(after) - back_ms) / 1e3 if after else 0.0,
            caught_up_s=max(0.0, (max(before) - back_ms) / 1e3),
            audit_waits=(self.session.folder / "logs" / "audit.log").read_text().count(AWAY_EVENT),
            audit_s=self._audit_s,
            damage=examine(found, held_open),
        )


def answers(found: Mapping[str, Sequence[Seen]]) -> dict[str, int]:
    """decision id -> when it was answered, broker time, milliseconds."""
    at_ms: dict[str, int] = {}
    for item in (*found[topics.APPROVED_ORDERS], *found[topics.RISK_EVENTS]):
        if is_approval(item):
            at_ms.setdefault(item.record.approval.decision_id, item.append_ms)
        elif is_denial(item):
            for name in (item.record.decision_id, *item.record.also_decision_ids):
                at_ms.setdefault(name, item.append_ms)
    return at_ms


def is_approval(seen: Seen) -> bool:
    """Not a watermark."""
    return isinstance(seen.record, ApprovedOrder)


def is_denial(seen: Seen) -> bool:
    """Not a warning or a switch."""
    return isinstance(seen.record, Denial)


def sent_updates(found: Mapping[str, Sequence[Seen]]) -> list[Seen]:
    """Updates that say that an order went to the venue, or was there."""
    return [
        item
        for item in found[topics.ORDER_UPDATES]
        if isinstance(item.record, OrderUpdate) and item.record.status in SENT
    ]


def sent_late(found: Mapping[str, Sequence[Seen]], decision_age_ns_max: int) -> int:
    """Orders sent on an approval past its time, and approvals of a decision past its own."""
    approvals = {
        item.record.order.client_order_id: item.record.approval
        for item in found[topics.APPROVED_ORDERS]
        if is_approval(item)
    }
    made_ns = {
        item.record.decision_id: item.record.ts_event_ns
        for item in found[topics.DECISIONS]
        if hasattr(item.record, "decision_id")
    }
    late = sum(
        item.record.ts_init_ns > approvals[item.record.client_order_id].last_send_ns
        for item in sent_updates(found)
        if item.record.status is OrderStatus.SUBMITTED
    )
    aged = sum(
        approval.issued_ns - made_ns[approval.decision_id] > decision_age_ns_max
        for approval in approvals.values()
        if approval.decision_id in made_ns
    )
    return int(late + aged)
