"""Why a shard ended: a fence is told from an outage, whatever came up first."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from tapeline.runtime.money_worker import (
    DeliveryError,
    NoAnswer,
    ShardFenced,
    cause_of,
    is_outage,
)

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
