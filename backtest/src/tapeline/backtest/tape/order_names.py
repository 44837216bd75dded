"""Names that a recorded run's orders have in another run that repeats it.

Ids are derived from the run's id, so an order that an operator cancels by its name has another one
where the run's id is another. It is found by what it was made of: decision, group, cycle, index.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from tapeline.agents.group import instance_of
from tapeline.contracts.agents import Decision
from tapeline.contracts.orders import Order
from tapeline.risk.answers import cause_of
from tapeline.runtime.ids import derive_id


def order_names(
    decisions: Iterable[tuple[int, Decision]],
    universes: Mapping[str, str],
    run_ids: tuple[str, str],
) -> dict[str, str]:
    """client_order_id in the recorded run -> that in the other; `run_ids` are theirs.

    `decisions` come with their shards; `universes`: group -> universe. Orders of a Flatten are not
    made of a decision and have no entry.
    """
    before, after = run_ids
    found = {}
    for shard, decision in decisions:
        name = order_name(before, shard, decision, decision.decision_id)
        other = decision.decision_id
        if decision.group_id in universes:
            cycle = f"cycle/{universes[decision.group_id]}/{decision.cycle_ns}"
            instance = instance_of(decision.group_id)
            if other == derive_id(before, instance, cycle, "Decision", decision.index):
                other = derive_id(after, instance, cycle, "Decision", decision.index)
        found[name] = order_name(after, shard, decision, other)
    return found


def order_name(run_id: str, shard: int, decision: Decision, decision_id: str) -> str:
    """The client_order_id that risk derives for a decision under this id."""
    cause = cause_of(replace(decision, decision_id=decision_id))
    return derive_id(run_id, f"risk/{shard}", cause, Order.AVRO)
