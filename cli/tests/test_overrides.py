"""Overrides of a configuration: each form, and what is refused."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tapeline.cli.configuration import Configuration, ConfigurationError, load_configuration
from tapeline.cli.overrides import (
    BadOverride,
    pairs,
    with_groups,
    with_parameters,
    with_settings,
)
from tapeline.cli.sources import PRESETS
from tapeline.contracts.config import Instrument, Limits, Mandate, TradingGroup, Trigger, Venue


@pytest.fixture(scope="module")
def configuration() -> Configuration:
    return load_configuration(PRESETS / "econometrics.toml")


def of(records: tuple[Any, ...], kind: type[Any]) -> list[Any]:
    return [record for record in records if isinstance(record, kind)]


def test_a_field_of_one_record_is_changed(configuration: Configuration) -> None:
    changed = with_settings(configuration.records, {"venue.US.taker_fee_rate": "0.001"})
    assert [venue.taker_fee_rate for venue in of(changed, Venue)] == [Decimal("0.001")]


def test_an_id_may_hold_dots(configuration: Configuration) -> None:
    changed = with_settings(configuration.records, {"instrument.SP500.US.lot_size": "0.5"})
    sizes = {item.instrument_id: item.lot_size for item in of(changed, Instrument)}
    assert sizes["SP500.US"] == Decimal("0.5")
    assert sizes["NASDAQ.US"] != Decimal("0.5")


def test_a_star_means_every_record_of_the_table(configuration: Configuration) -> None:
    changed = with_settings(configuration.records, {"mandate.*.decision_age_max_ns": "7m"})
    assert {mandate.decision_age_max_ns for mandate in of(changed, Mandate)} == {420_000_000_000}


def test_a_limit_within_a_record_is_set_where_there_was_none(configuration: Configuration) -> None:
    bare = with_settings(configuration.records, {})
    changed = with_settings(bare, {"account.*.limits.order_rate_max": "5"})
    limits = [record.limits for record in changed if type(record).__name__ == "Account"]
    assert limits
    assert all(item == Limits(order_rate_max=5) for item in limits)


@pytest.mark.parametrize(("text", "value"), [("false", False), ("true", True)])
def test_booleans_are_written_as_in_toml(
    configuration: Configuration, text: str, value: bool
) -> None:
    changed = with_settings(configuration.records, {"instrument.*.is_permitted": text})
    assert {item.is_permitted for item in of(changed, Instrument)} == {value}


def test_parameters_of_groups_and_triggers_are_texts(configuration: Configuration) -> None:
    changed = with_parameters(configuration.records, {"sma_cross.fast": "7", "trend.band": "0.01"})
    triggers = {item.trigger: item.parameters for item in of(changed, Trigger)}
    groups = {item.group_id: item.parameters for item in of(changed, TradingGroup)}
    assert triggers["sma_cross"]["fast"] == "7"
    assert groups["trend"]["band"] == "0.01"


def test_other_groups_do_not_decide(configuration: Configuration) -> None:
    changed = with_groups(configuration.records, ["trend"])
    assert [item.group_id for item in of(changed, TradingGroup) if item.is_enabled] == ["trend"]


@pytest.mark.parametrize(
    ("name", "value", "error", "says"),
    [
        ("venues.US.taker_fee_rate", "0", BadOverride, "no table venues"),
        ("venue.XX.taker_fee_rate", "0", BadOverride, "names no venue"),
        ("venue.US.taker_fee", "0", BadOverride, "no field taker_fee"),
        ("venue.US.taker_fee_rate.more", "0", BadOverride, "is one value"),
        ("venue.US.taker_fee_rate", "much", ConfigurationError, "'much'"),
        ("venue.US.taker_fee_rate", "nan", ConfigurationError, "'nan'"),
        ("instrument.SP500.US.is_permitted", "maybe", ConfigurationError, "'maybe'"),
        ("instrument.SP500.US.asset_class", "SHOE", ConfigurationError, "'SHOE'"),
    ],
)
def test_what_is_not_there_is_named(
    configuration: Configuration, name: str, value: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        with_settings(configuration.records, {name: value})


@pytest.mark.parametrize("name", ["nobody.fast", "fast", "sma_cross."])
def test_a_parameter_of_nobody_is_refused(configuration: Configuration, name: str) -> None:
    with pytest.raises(BadOverride, match="names no group or trigger"):
        with_parameters(configuration.records, {name: "1"})


def test_a_group_that_is_not_there_is_refused(configuration: Configuration) -> None:
    with pytest.raises(BadOverride, match="no group nobody"):
        with_groups(configuration.records, ["nobody"])


def test_a_pair_needs_its_equals_sign() -> None:
    assert pairs(["a.b=c=d"], "--set") == {"a.b": "c=d"}
    with pytest.raises(BadOverride, match="--set"):
        pairs(["a.b"], "--set")
