"""What a core is to the drivers: inputs, outputs, and the two functions of a decider.

A core is pure: no clock, no I/O, no randomness, no iteration over sets. Everything from outside
(venue answers, model answers, timers, the time itself) comes in as an `Input`.

A money core (risk, execution) is `decide` and `evolve`:

    outputs = decide(state, input)
    state   = evolve(state, input), then evolve(state, output) for each output

Recovery calls `evolve` only, over the journaled inputs and the recorded outputs, so `evolve` must
not depend on `decide` having run. A stage (bars, triggers, groups) is a step over one partition.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, Protocol, TypeVar

from tapeline.contracts.frozen import acyclic, quick

State = TypeVar("State")


class Record(Protocol):
    """A generated type of tapeline.contracts."""

    AVRO: ClassVar[str]

    def to_avro(self) -> dict[str, Any]:
        """As the Avro writer takes it."""
        ...


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class TimerFired:
    """The session clock has reached or passed the core's next due time; overdue timers collapse."""

    ts_event_ns: int
    """session time of the batch"""


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class Undecodable:
    """A record of another party that could not be decoded; it is in quarantine already."""

    key: str
    """message key as text, or empty"""
    code: str
    """stable code, such as TRUNCATED"""
    reason: str
    """one sentence"""


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One recorded input of a core."""

    record: Any
    """a contracts record, TimerFired or Undecodable"""
    topic: str
    """name without the run's prefix; empty for a timer"""
    partition: int = -1
    offset: int = -1
    event_id: str = ""
    """id of the record: its header, or computed from its content key (for bulk records with
    @topic/partition/offset behind it)"""
    correlation_id: str = ""
    """the workflow it belongs to"""
    session_ns: int = 0
    """session time of the batch: the only clock a core knows"""
    verdict: str = ""
    """what the shell found about it when it came in, such as BAD_MAC; empty when all is well.
    Journaled, so replay sees the same."""


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One record a core emits."""

    topic: str
    """name without the run's prefix"""
    key: str
    record: Any
    """a contracts record"""
    event_id: str
    """derived with ids.derive_id; for bulk topics empty"""
    partition: int | None = None
    """None: the shard's own partition, or for a stage the partition of its input"""
    causation_id: str | None = None
    """None: the input that is being stepped; a stage, which steps batches, names it itself"""
    correlation_id: str | None = None
    """None: that of the input"""


class Pacing(Enum):
    """Which slice of an input a shard needs before it steps slice n of a paced run."""

    CURRENT = "current"
    """slice n: market data, decisions"""
    PREVIOUS = "previous"
    """slice n-1: what comes back from a later service"""
    UNPACED = "unpaced"
    """no watermarks: control and config; consumed with the next slice, in front"""


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class InputTopic:
    """One subscription of a money core. Their order breaks ties between inputs."""

    topic: str
    is_own: bool
    """True: only the partition with the shard's number. False: every partition (broadcast)."""
    pacing: Pacing = Pacing.CURRENT
    is_first: bool = False
    """stepped before everything else in a batch (control)"""
    is_critical: bool = False
    """an undecodable record halts the shard: written by our own money path, control or config"""
    head: type[Any] | None = None
    """leading fields by which the core, a `Skimming` one, can pass a record over (heads.py); in
    paced runs all records are read"""


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a core instance knows about where it runs."""

    run_id: str
    service: str
    shard: int
    mode: str
    """PAPER, SHADOW, LIVE or BACKTEST: what is written under every signature"""
    is_paced: bool = False
    """True: batches are complete slices, which end with the watermarks of all who come before"""

    @property
    def instance(self) -> str:
        """Name under which ids are derived, such as risk/0."""
        return f"{self.service}/{self.shard}"


class MoneyCore(Protocol[State]):
    """A core of the money path; one instance a shard."""

    @property
    def inputs(self) -> tuple[InputTopic, ...]:
        """What it subscribes to; may depend on the mode of the run."""
        ...

    outputs: ClassVar[tuple[str, ...]]
    """account topics it writes on its own partition; recovery reads them back"""
    watermark_topics: ClassVar[tuple[str, ...]]
    """those of its outputs on which the driver passes watermarks on"""

    def initial(self) -> State:
        """State before the first input."""
        ...

    def decide(self, state: State, event: Input) -> Sequence[Output]:
        """What follows from an input; does not change the state."""
        ...

    def evolve(self, state: State, event: Input | Output) -> State:
        """State after an input or one of the core's own outputs."""
        ...

    def next_due_ns(self, state: State) -> int | None:
        """When a timer should fire, session time, or None."""
        ...

    def dump(self, state: State) -> bytes:
        """Canonical bytes of the state: equal states give equal bytes."""
        ...

    def load(self, data: bytes) -> State:
        """Inverse of dump."""
        ...


class Skimming(Protocol):
    """What a core of the money path has besides when an input topic of its has heads."""

    def pass_over(self, state: Any, head: Any, session_ns: int) -> Any | None:
        """What the core takes in the place of the record with this head; None: it is to be read."""
        ...


class Stage(Protocol):
    """A derived stream: one instance serves all assigned partitions of its input topics.

    The driver calls, for each partition it is assigned: `restore` once, then `step` for every
    batch in offset order, then sends the outputs, then what `checkpoint` says, then commits.
    Outputs carry explicit partitions where the default (input's partition) does not fit.
    The same input gives the same outputs with the same ids: a crash between send and commit
    repeats outputs, and readers drop them by id.
    """

    name: str
    """such as bars, triggers, group/momentum; consumer group and producer header are made of it"""
    input_topics: tuple[str, ...]
    state_topic: str | None
    """compacted topic that keeps the state, partitioned like the input; None: none"""

    def restore(self, topic: str, partition: int, committed: int, kept: Sequence[Input]) -> int:
        """Takes back the state kept for a partition and returns the input offset from which the
        driver must step again, outputs suppressed, up to `committed` (the group's position)."""
        ...

    async def step(self, topic: str, partition: int, events: Sequence[Input]) -> Iterable[Output]:
        """Outputs of a batch of one partition, in order."""
        ...

    def checkpoint(self, topic: str, partition: int) -> Iterable[Output]:
        """State records to be sent with the batch's outputs; empty without a state topic."""
        ...

    def low_water(self, topic: str, partition: int, position: int) -> int:
        """First input offset still needed to rebuild the state without a state topic; it is kept
        in the metadata of the commit and handed to `restore` as its result by the driver."""
        ...

    def is_warm(self) -> bool:
        """False while the stage lacks the history it needs; shown by /readyz."""
        ...
