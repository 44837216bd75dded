"""A core with an observer beside it: the observer sees what the core is told and says, and keeps
books of its own through crashes and recoveries."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from typing import Any, Protocol

from tapeline.runtime.core import Input, MoneyCore, Output


class Observer(Protocol):
    """Books beside a core; picklable, for they are kept with each snapshot."""

    def decided(self, event: Input, outputs: Sequence[Output]) -> None:
        """Live only: the core said `outputs` to an input that its state has not taken yet."""

    def evolved(self, event: Input | Output) -> None:
        """Live and in recovery: the core's state has taken an input or an own output."""

    def compare(self, state: Any) -> None:
        """Raises Broken where the core's state is not what these books say."""


class Vault:
    """Observers as they were when a core was dumped."""

    def __init__(self) -> None:
        self._kept: dict[bytes, bytes] = {}

    def keep(self, dumped: bytes, observer: Observer) -> None:
        self._kept[hashlib.sha256(dumped).digest()] = pickle.dumps(observer)

    def give(self, dumped: bytes) -> Any:
        return pickle.loads(self._kept[hashlib.sha256(dumped).digest()])


class ObservedCore:
    """Behaves as its core and tells the observer."""

    def __init__(self, core: MoneyCore[Any], observer: Observer, vault: Vault) -> None:
        self.core = core
        self.observer = observer
        self.inputs = core.inputs
        self.outputs = core.outputs
        self.watermark_topics = core.watermark_topics
        self._vault = vault

    def initial(self) -> Any:
        return self.core.initial()

    def pass_over(self, state: Any, head: Any, session_ns: int) -> Any | None:
        core: Any = self.core
        return core.pass_over(state, head, session_ns)

    def decide(self, state: Any, event: Input) -> Sequence[Output]:
        outputs = self.core.decide(state, event)
        self.observer.decided(event, outputs)
        return outputs

    def evolve(self, state: Any, event: Input | Output) -> Any:
        state = self.core.evolve(state, event)
        self.observer.evolved(event)
        return state

    def next_due_ns(self, state: Any) -> int | None:
        return self.core.next_due_ns(state)

    def dump(self, state: Any) -> bytes:
        dumped = self.core.dump(state)
        self._vault.keep(dumped, self.observer)
        return dumped

    def load(self, data: bytes) -> Any:
        self.observer = self._vault.give(data)
        return self.core.load(data)
