"""A paced run in which an operator spoke up, played again from its tape without Kafka: halts,
resumes, a trip by file, orders by hand and a changed limit are heard where they were heard."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from proving.playing import Finished, Ground, play, replayed
from proving.speaking import Speaker, speaking_first

from tapeline.backtest.paced.interventions import Word
from tapeline.backtest.tape.recorded_words import words_of
from tapeline.cli import backtests
from tapeline.cli.backtests import Asked, played_run
from tapeline.cli.home import VARIABLE
from tapeline.contracts.control import Flatten, SetTradingState
from tapeline.contracts.risk import DenialCode

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]
IDS = ("client_order_id", "decision_id")


@pytest.fixture(scope="module")
def speaker() -> Speaker:
    return Speaker()


@pytest.fixture(scope="module")
def spoken(ground: Ground, speaker: Speaker) -> Finished:
    """The run with the operator in it, and its replay along the journals."""
    make_session = speaking_first(speaker)
    return replayed(play(ground, "spoken", make_session=make_session, meanwhile=speaker))


@pytest.fixture(autouse=True)
def _home(spoken: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(spoken.folder.parent.parent))
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", spoken.settings.kafka_bootstrap_servers)
    monkeypatch.setenv("DATABASE_URL", spoken.database_url)


def played(run: Finished, **more: Any) -> Any:
    return played_run(run.run.name, Asked(**more), lambda _part: None, lambda _done, _total: None)


def by_hand(again: Any) -> dict[str, str]:
    """decision -> how its order ended, or why it was denied"""
    orders = again.tables["orders"].filter(pl.col("group_id") == "MANUAL")
    return {row["decision_id"]: row["code"] or row["status"] for row in orders.to_dicts()}


def test_without_changes_it_says_what_the_run_said_to_the_byte(
    spoken: Finished, speaker: Speaker
) -> None:
    assert len(speaker.said) == len(speaker.script)
    assert spoken.replay is not None
    assert spoken.replay.is_equal, spoken.replay.differences
    again = played(spoken, run_id=spoken.run.run_id)
    assert again.digests == dict(sorted(spoken.digests.items()))
    assert again.tables.description.warnings == ()
    ended = by_hand(again)
    assert ended[speaker.asked["bought"].decision_id] == "FILLED"
    assert ended[speaker.asked["standing"].decision_id] == "CANCELED"
    assert ended[speaker.asked["forged"].decision_id] == DenialCode.AUTHOR_UNVERIFIED.value
    codes = set(again.tables["orders"]["code"])
    assert {DenialCode.TRADING_HALTED.value, DenialCode.REDUCE_ONLY.value} & codes


def heard(run: Finished, kind: type, instance: str, number: int = 0) -> str:
    """When a shard heard the so-and-so-many-th control record of a kind, as a date and time."""
    _, tape = backtests.pulled(run.run.name, lambda _done, _total: None)
    times = [
        item.heard_ns
        for item in words_of(tape).interventions
        if isinstance(item, Word) and item.instance == instance
        if isinstance(item.event.record, kind)
    ]
    return datetime.fromtimestamp((times[number] + 1) / 1e9, UTC).isoformat()


def test_under_another_id_only_the_ids_differ(spoken: Finished) -> None:
    """Up to the flattening, whose orders share a tick in the order of their ids."""
    more = {"groups": ("trend",), "end": heard(spoken, Flatten, "risk/0")}
    same, other = played(spoken, run_id=spoken.run.run_id, **more), played(spoken, **more)
    assert other.tables.description.run_id != spoken.run.run_id
    assert other.digests != same.digests
    assert other.tables["fills"].height > 0
    for name in ("orders", "fills", "equity", "cash"):
        mine, theirs = (run.tables[name].select(pl.exclude(*IDS)) for run in (same, other))
        assert theirs.sort(pl.all()).equals(mine.sort(pl.all())), name
    told = other.tables.description.warnings
    assert not any("found nothing" in text for text in told), "the cancel has found its order"


def test_without_the_groups_the_operator_still_acts(spoken: Finished, speaker: Speaker) -> None:
    again = played(spoken, groups=("trend",))
    assert by_hand(again)[speaker.asked["bought"].decision_id] == "FILLED"
    assert set(again.tables["fills"]["group_id"]) == {"trend", "MANUAL"}


def test_a_later_part_begins_with_what_was_in_force(spoken: Finished) -> None:
    """Halted before the part begins; the orders by hand came before it."""
    start = heard(spoken, SetTradingState, "risk/1")
    again = played(spoken, start=start, groups=("swing",))
    assert by_hand(again) == {}
    until_ns = datetime.fromisoformat(heard(spoken, SetTradingState, "risk/1", 1)).timestamp() * 1e9
    orders = again.tables["orders"]
    halted = orders.filter(pl.col("ts_decided_ns") < until_ns)
    assert set(halted["code"]) <= {DenialCode.TRADING_HALTED.value}
    assert "FILLED" in set(orders.filter(pl.col("ts_decided_ns") > until_ns)["status"])


def test_what_finds_nothing_to_be_done_with_is_told(spoken: Finished) -> None:
    again = played(spoken, settings=("mandate.PAPER-1.position_weight_max=0.0001",))
    (warning,) = again.tables.description.warnings
    assert "CANCEL that MANUAL asked for in account PAPER-1 found nothing to be done" in warning


def test_the_tape_is_checked_against_the_journal_with_what_was_said(spoken: Finished) -> None:
    _, tape = backtests.pulled(spoken.run.name, lambda _done, _total: None)
    assert tape.partition_count("control") == 1
