"""A shard of the money path that is handed its inputs as they are, not as bytes of a log.

Everything that decides is `Shard` itself: order of inputs, step, timers, outputs as they would be
read back. Left out is what only a log needs: journal, snapshots, signatures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from tapeline.backtest.paced.interventions import Pull
from tapeline.runtime.batches import NOWHERE, Batch, Pending
from tapeline.runtime.core import Context, Input, MoneyCore
from tapeline.runtime.intake import Intake, no_verdict
from tapeline.runtime.log import TopicPartition
from tapeline.runtime.shard import Shard


@dataclass(slots=True)
class Told:
    """An input with what its place in a paced order depends on."""

    event: Input
    offset: int
    producer: str = ""

    def header(self, name: str) -> str:
        """As of a record of a log, which has the writer's name in a header."""
        return self.producer if name == "producer" else ""


class Given:
    """An intake of inputs that are inputs already."""

    verdict = staticmethod(no_verdict)

    def inputs_of(
        self, _topic: str, told: Sequence[Told], _recorded: object, _session_ns: int
    ) -> list[Input]:
        """The inputs."""
        return [item.event for item in told]


class PacedShard(Shard[Any]):
    """One shard of a run without a log."""

    def __init__(
        self, core: MoneyCore[Any], context: Context, partitions: Mapping[str, int]
    ) -> None:
        super().__init__(
            core,
            context,
            cast("Intake", Given()),
            build_id="backtest",
            partitions=partitions,
            slot_partition=0,
        )

    def stepped(
        self,
        number: int,
        end_ns: int,
        is_final: bool,
        told: Mapping[TopicPartition, Sequence[Told]],
    ) -> Pending:
        """Steps one complete slice and gives what was said."""
        self.step(Batch(end_ns, cast("Any", told), number, is_final), None)
        self.last_slice = number
        return self._taken()

    def pulled(self, pull: Pull) -> Pending:
        """Steps trips of the kill switch, which wait for no slice, and gives what was said."""
        session_ns = max(self.session_ns, pull.heard_ns)
        verdicts = {NOWHERE: dict(enumerate(pull.verdicts))}
        self.step(Batch(session_ns, {}, local=pull.trips), verdicts)
        return self._taken()

    def _taken(self) -> Pending:
        pending, self.pending = self.pending, Pending()
        return pending

    def _remember(self, batch: Batch, inputs: list[Input], timers: list[int]) -> None:
        """There is no journal to remember it for."""
