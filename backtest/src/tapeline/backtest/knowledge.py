"""Whether a language model may have read about the time that it decided on."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from tapeline.agents.config_book import ConfigBook
from tapeline.contracts.agents import Decision
from tapeline.contracts.config import GroupKind

CUTOFF: Final = "knowledge_cutoff"
MASKED: Final = "is_masked"
SECOND_NS: Final = 1_000_000_000


def knowledge_warnings(book: ConfigBook, decisions: Iterable[Decision]) -> tuple[str, ...]:
    """One sentence for each group whose model may know what came; the local offline model has read
    nothing. `decisions` are those of a run over the past."""
    by_group: dict[str, list[Decision]] = {}
    for decision in decisions:
        if decision.model and not decision.is_offline_model:
            by_group.setdefault(decision.group_id, []).append(decision)
    found = []
    for group_id, made in sorted(by_group.items()):
        group = book.groups.get(group_id)
        if group is None or group.kind is not GroupKind.LLM:
            continue
        models = ", ".join(sorted({decision.model for decision in made}))
        cutoff = group.parameters.get(CUTOFF, "")
        masked = " Names and dates were masked." if _is_masked(group.parameters) else ""
        if not cutoff:
            found.append(
                f"group {group_id}: {models} may have read about the time it decided on; its "
                f"{CUTOFF} is not given.{masked}"
            )
            continue
        early = sum(decision.cycle_ns < _ns_of(cutoff) for decision in made)
        if early:
            found.append(
                f"group {group_id}: {early} of {len(made)} decisions lie before {cutoff}, up to "
                f"which {models} has read: it may know what came.{masked}"
            )
    return tuple(found)


def _is_masked(parameters: dict[str, str]) -> bool:
    return parameters.get(MASKED, "").lower() in ("true", "1")


def _ns_of(date: str) -> int:
    return int(datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp()) * SECOND_NS
