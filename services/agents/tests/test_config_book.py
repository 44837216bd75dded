"""The newest version of each config record."""

from __future__ import annotations

from dataclasses import replace

from agents_samples import SPX, account_config, group_config, instrument_config, trigger_config

from tapeline.agents.config_book import ConfigBook, book_of
from tapeline.contracts.config import Watchlist


def test_the_highest_version_of_each_record_counts() -> None:
    one = trigger_config("sma", "sma_cross")
    three, two = replace(one, version=3, universe="x"), replace(one, version=2)
    book = book_of([one, three, two, group_config(), account_config(), instrument_config()])
    assert book.triggers == {"sma": three}
    assert list(book.groups) == ["momentum"]
    assert list(book.accounts) == ["paper-1"]
    assert list(book.instruments) == [SPX]


def test_a_version_that_is_not_above_the_one_held_changes_nothing() -> None:
    book = book_of([group_config()])
    assert book.with_record(replace(group_config(), universe="other")) is book


def test_records_of_others_leave_the_book_as_it_is() -> None:
    book = ConfigBook()
    assert book.with_record(Watchlist(universe="main", instruments=(), version=1)) is book
