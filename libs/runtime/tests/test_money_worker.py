"""What goes into one transaction, and why a shard ended, whatever came up first."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from copier import decision
from test_shard import new_shard, raw

from tapeline.contracts import topics
from tapeline.contracts.system import Consumed
from tapeline.runtime import clock
from tapeline.runtime.codec import Decoder
from tapeline.runtime.money_worker import (
    PULSE_S,
    SETTLE_S,
    DeliveryError,
    NoAnswer,
    ShardFenced,
    ShardWorker,
    WorkerSettings,
    cause_of,
    is_outage,
)
from tapeline.runtime.telemetry import Metrics

FENCED = KafkaException(KafkaError(KafkaError._FENCED, "fenced", True))
TIMED_OUT = KafkaException(KafkaError(KafkaError._TIMED_OUT, "timed out"))


class Asked:
    """A producer that answers a question for its state."""

    def __init__(self, answer: Exception | None) -> None:
        self.answer = answer

    def abort_transaction(self, _timeout_s: float) -> None:
        if self.answer is not None:
            raise self.answer


def ended(error: BaseException, answer: Exception | None) -> BaseException:
    producer: Producer = Asked(answer)  # type: ignore[assignment]  # a fake of one method
    return cause_of(error, producer)


@pytest.mark.parametrize(
    "first",
    [
        FENCED,
        TIMED_OUT,
        KafkaException(KafkaError(KafkaError._FATAL, "fatal")),
        SystemError("returned NULL without setting an exception"),
        DeliveryError("purged in queue"),
        NoAnswer("3 records unacknowledged"),
    ],
    ids=lambda error: str(error)[:30],
)
def test_a_fenced_producer_is_told_whatever_came_up_first(first: BaseException) -> None:
    assert isinstance(ended(first, FENCED), ShardFenced)


@pytest.mark.parametrize("answer", [None, TIMED_OUT], ids=["aborted", "no answer"])
def test_an_outage_stays_one(answer: Exception | None) -> None:
    found = ended(TIMED_OUT, answer)
    assert found is TIMED_OUT
    assert is_outage(found)


def test_a_bug_is_not_asked_about() -> None:
    bug = ValueError("a bug")
    assert ended(bug, FENCED) is bug


# ---- one transaction


class Watch:
    """A clock that a test moves; it moves a little with each look, too."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def wall_ns(self) -> int:
        return int(self.now_s * 1e9)

    def monotonic_s(self) -> float:
        self.now_s += SETTLE_S / 20
        return self.now_s


class Transactions:
    """A producer that keeps what was committed, by topic."""

    def __init__(self) -> None:
        self.committed: list[dict[str, list[bytes]]] = []

    def begin_transaction(self) -> None:
        self.committed.append({})

    def produce(self, topic: str, value: bytes, *_: Any, **__: Any) -> None:
        self.committed[-1].setdefault(topic, []).append(value)

    def flush(self, _timeout_s: float) -> int:
        return 0

    def commit_transaction(self, _timeout_s: float) -> None:
        return None


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    moved = Watch()
    monkeypatch.setattr(clock, "SYSTEM", moved)
    return moved


def a_worker() -> tuple[ShardWorker[Any], Transactions]:
    producer = Transactions()
    worker: ShardWorker[Any] = ShardWorker(
        new_shard(),
        producer,  # type: ignore[arg-type]  # a fake of four methods
        WorkerSettings(prefix=""),
        Metrics(),
        lambda: None,
    )
    worker._next = dict(worker.shard.positions)
    return worker, producer


def say(worker: ShardWorker[Any], *offsets: int) -> None:
    """Decisions come in, each by itself."""
    place = (topics.DECISIONS, 0)
    for offset in offsets:
        worker.inbox.put([(place, [raw(place[0], offset, decision(offset))])])


def test_a_pulse_goes_with_a_transaction_where_one_is_due_and_not_with_every_one(
    watch: Watch,
) -> None:
    worker, producer = a_worker()
    for offset, pause_s in enumerate((0.0, 0.1, 0.1, PULSE_S, 0.1)):
        watch.now_s += pause_s
        say(worker, offset)
        worker._turn()
    assert [topics.RISK_EVENTS in said for said in producer.committed] == [True] * 5
    pulses = [topics.APPROVED_ORDERS in said for said in producer.committed]
    assert pulses == [True, False, False, True, False]


def test_a_pulse_goes_out_without_any_output_too(watch: Watch) -> None:
    worker, producer = a_worker()
    for pause_s in (0.0, 0.1, PULSE_S):
        watch.now_s += pause_s
        worker._turn()
    assert [sorted(said) for said in producer.committed] == [
        [topics.APPROVED_ORDERS, topics.JOURNAL]
    ] * 2


def test_what_comes_while_the_broker_settles_goes_with_the_same_transaction(watch: Watch) -> None:
    worker, producer = a_worker()
    say(worker, 0)
    worker._turn()
    taken = worker._fetched
    later = iter([1, 2])

    def one_by_one(wait_s: float) -> Any:
        """One decision for each look into the inbox."""
        for offset in later:
            say(worker, offset)
            break
        return taken(min(wait_s, 0.001))

    worker._fetched = one_by_one  # type: ignore[method-assign]  # nobody else fills the inbox
    worker._turn()
    assert [len(said[topics.RISK_EVENTS]) for said in producer.committed] == [1, 2]
    journal = Decoder((Consumed.AVRO,)).decode(producer.committed[1][topics.JOURNAL][0])
    assert len(journal.batches) == 2
    assert worker.shard.positions[topics.DECISIONS, 0] == 3
