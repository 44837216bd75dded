"""What the stages of this service tell a person."""

from __future__ import annotations

from tapeline.contracts import topics
from tapeline.contracts.system import Incident
from tapeline.runtime.core import Output
from tapeline.runtime.ids import derive_id


def config_unusable(instance: str, reason: str, ts_event_ns: int, run_id: str) -> Output:
    """A config record cannot be put to work; what ran before it goes on."""
    return incident(instance, "critical", "CONFIG_UNUSABLE", reason, ts_event_ns, run_id)


def decision_outside_group(
    group_instance: str, instrument_id: str, ts_event_ns: int, run_id: str
) -> Output:
    """A group decided on what is not its own; the decision was dropped."""
    reason = (
        f"{group_instance} decided on {instrument_id}, which is not among its instruments; the "
        f"decision was dropped. Correct the group's code or its config record."
    )
    return incident(
        group_instance, "warning", "DECISION_OUTSIDE_GROUP", reason, ts_event_ns, run_id
    )


def incident(
    instance: str, severity: str, code: str, reason: str, ts_event_ns: int, run_id: str
) -> Output:
    """One incident, with an id of its content."""
    return Output(
        topic=topics.INCIDENTS,
        key=instance,
        record=Incident(
            service=instance,
            severity=severity,
            code=code,
            reason=reason,
            topic="",
            partition=-1,
            offset=-1,
            ts_event_ns=ts_event_ns,
            ts_init_ns=ts_event_ns,
        ),
        event_id=derive_id(run_id, instance, f"{ts_event_ns}/{code}/{reason}", "Incident"),
        partition=0,
    )
