"""What is not acknowledged stays so, however often it is asked for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError

from tapeline.runtime.kafka import ClientLost
from tapeline.runtime.outbox import Outbox, Sending
from tapeline.runtime.settings import ServiceSettings
from tapeline.runtime.telemetry import Metrics


def outbox() -> Outbox:
    settings = ServiceSettings(kafka_bootstrap_servers="127.0.0.1:1", run_id="r")
    return Outbox(settings, "bars", Metrics())


def sending(*outcomes: Exception | None) -> Sending:
    """Outputs that are acknowledged or refused; without outcomes one that is neither."""
    found = Sending(counts={"bars": len(outcomes)})
    for outcome in outcomes or (NotImplemented,):
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        elif outcome is None:
            future.set_result(None)
        found.pending.append(future)
    return found


def test_all_acknowledged() -> None:
    async def check() -> None:
        assert await outbox().finish(sending(None, None)) == 2

    asyncio.run(check())


def test_a_refusal_is_told_each_time() -> None:
    async def check() -> None:
        box, refused = outbox(), sending(None, KafkaTimeoutError("no"))
        for _ in range(2):
            with pytest.raises(ClientLost, match="gets no acknowledgement"):
                await box.finish(refused)

    asyncio.run(check())


def test_who_stops_waiting_has_not_seen_an_acknowledgement() -> None:
    async def check() -> None:
        box, waited_for = outbox(), sending()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await box.finish(waited_for)
        with pytest.raises(ClientLost, match="did not wait"):
            await box.finish(waited_for)

    asyncio.run(check())
