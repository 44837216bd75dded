"""Configuration files: what is understood, and what each mistake says."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from tapeline.cli.calendars import CALENDARS
from tapeline.cli.configuration import ConfigurationError, duration_ns, key_of, load_configuration
from tapeline.cli.plan import paced_sources_of, reporters_of
from tapeline.cli.sources import PRESETS, chosen_source, prepared
from tapeline.contracts.config import Account, Instrument, Limits, Mandate
from tapeline.contracts.orders import Side

GOOD = """
[run]
feed = "synthetic"

[default.instrument]
venue = "V"
asset_class = "CRYPTO"
currency = "USD"
tick_size = "0.01"
lot_size = 0.1
quantity_min = "0.1"
notional_min = "10"
multiplier = "1"
sector = "s"
calendar = "24/7"
is_permitted = true

[[venue]]
venue = "V"
adapter = "paper"
maker_fee_rate = "0"
taker_fee_rate = "0.001"
half_spread_rate = "0"
latency_ns = "250ms"
participation_max = "0"

[[instrument]]
instrument_id = "A.V"
symbol = "A"

[[account]]
account_id = "P"
shard = 0
base_currency = "USD"
initial_cash = "1000"
venue = "V"
mode = "PAPER"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "c.toml"
    path.write_text(text)
    return path


def test_a_file_becomes_records_with_defaults_durations_and_exact_decimals(tmp_path: Path) -> None:
    configuration = load_configuration(written(tmp_path, GOOD))
    [instrument] = configuration.of(Instrument)
    assert instrument.lot_size == Decimal("0.1")
    assert instrument.version == 1
    assert configuration.records[0].latency_ns == 250_000_000
    assert [key_of(record) for record in configuration.records] == [
        "venue/V",
        "instrument/A.V",
        "account/P",
    ]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('symbol = "A"', 'symbol = "A"\nticksize = "1"', r"A.V has the unknown setting ticksize"),
        ('symbol = "A"\n', "", r"A.V lacks symbol"),
        ('"250ms"', '"250"', r"latency_ns is '250'"),
        ('"0.001"', '"a lot"', r"taker_fee_rate is 'a lot'"),
        ('"0.001"', '"NaN"', r"taker_fee_rate is 'NaN'"),
        ('mode = "PAPER"', 'mode = "MOON"', r"mode is 'MOON'"),
        ("shard = 0", "shard = true", r"shard is True"),
        ("is_permitted = true", 'is_permitted = "yes"', r"is_permitted is 'yes'"),
        ("[[account]]", "[[acount]]", r"\[acount\] is not a table"),
        ('currency = "USD"\ntick', 'currency = "USD"\ntick = [\ntick', r"cannot be read"),
        ('"24/7"', '"24-7"', r"instrument/A.V calendar is '24-7'"),
        (
            'initial_cash = "1000"\nvenue = "V"',
            'initial_cash = "1000"\nvenue = "W"',
            r"account/P mentions the venue W",
        ),
    ],
)
def test_a_mistake_is_named_with_its_table_and_key(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    assert before in GOOD
    with pytest.raises(ConfigurationError, match=message) as caught:
        load_configuration(written(tmp_path, GOOD.replace(before, after)))
    assert caught.value.remedy


LIMITED = """
[default.mandate]
instruments = ["A.V"]
confidence_min = 0.1
decision_age_max_ns = "1m"
mark_age_max_ns = "1m"
price_collar = "0.05"
protective_distance_max = "0.25"
position_weight_max = "0.05"
gross_exposure_max = "1"
leverage_max = "1"
cash_reserve_min = "0.1"
daily_loss_max = "0.02"
drawdown_max = "0.2"
approval_ttl_ns = "1m"
allows_short = true
limits = { spread_max = "0.01", instrument_cooldown_ns = "30s" }

[[mandate]]
account_id = "P"
venues = ["V"]
sides = ["BUY"]
limits = { spread_max = 0.002, open_orders_max = 5, trades_in_hours = true }
instrument_limits = { "A.V" = { order_quantity_max = "7" } }
"""


def test_limits_within_records_are_read_and_merged_over_their_defaults(tmp_path: Path) -> None:
    [mandate] = load_configuration(written(tmp_path, GOOD + LIMITED)).of(Mandate)
    assert mandate.limits == Limits(
        spread_max=Decimal("0.002"),
        instrument_cooldown_ns=30_000_000_000,
        open_orders_max=5,
        trades_in_hours=True,
    )
    assert mandate.instrument_limits == {"A.V": Limits(order_quantity_max=Decimal(7))}
    assert (mandate.venues, mandate.sides) == (("V",), (Side.BUY,))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("spread_max = 0.002", "spred_max = 0.002", r"P limits has the unknown setting spred_max"),
        ("open_orders_max = 5", "open_orders_max = 5.5", r"P limits open_orders_max is 5.5"),
        ("trades_in_hours = true", "trades_in_hours = 1", r"P limits trades_in_hours is 1"),
        (
            "order_quantity_max",
            "quantity_max",
            r"instrument_limits.A.V has the unknown setting quantity_max",
        ),
        ('"A.V" = {', '"B.V" = {', r"mentions the instrument B.V"),
        ('venues = ["V"]', 'venues = ["W"]', r"mentions the venue W"),
        ('sides = ["BUY"]', 'sides = ["LONG"]', r"sides is 'LONG'"),
        ("limits = { spread_max = 0.002,", "limits = 1 #", r"P limits is 1"),
    ],
)
def test_a_mistake_inside_limits_is_named_too(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    assert before in LIMITED
    with pytest.raises(ConfigurationError, match=message):
        load_configuration(written(tmp_path, GOOD + LIMITED.replace(before, after)))


def test_the_calendars_are_those_of_the_library() -> None:
    import exchange_calendars

    assert frozenset(exchange_calendars.get_calendar_names(include_aliases=True)) == CALENDARS


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no configuration file"):
        load_configuration(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1d", 86_400_000_000_000), ("1.5s", 1_500_000_000), ("5m", 300_000_000_000), ("7ns", 7)],
)
def test_durations(text: str, expected: int) -> None:
    assert duration_ns(text, "x") == expected


# That of a strategy file has blanks, which `tapeline run` fills in.
WHOLE = [path for path in sorted(PRESETS.glob("*.toml")) if path.stem != "strategy"]


@pytest.mark.parametrize("preset", WHOLE, ids=lambda path: path.stem)
def test_every_preset_is_valid_and_permits_what_its_groups_trade(preset: Path) -> None:
    configuration = load_configuration(preset)
    mandates = {mandate.account_id: mandate for mandate in configuration.of(Mandate)}
    for account in configuration.of(Account):
        names = {item.instrument_id for item in configuration.of(Instrument)}
        assert set(mandates[account.account_id].instruments) <= names


def test_a_run_waits_for_every_shard_and_group_and_expects_every_source(tmp_path: Path) -> None:
    run, configuration = prepared(tmp_path, chosen_source(synthetic=3), "t")
    assert reporters_of(run, configuration) == [
        "risk/0",
        "execution/0",
        "group/trend",
        "group/committee",
    ]
    sources = paced_sources_of(run, configuration)
    assert sources["ticks"] == {"0": ["feed/synthetic"]}
    assert sources["decisions"] == {"0": ["group/trend", "group/committee"]}
    assert sources["fills"] == {"0": ["execution/0"]}
    assert sources["funding-rates"] == {"0": ["feed/synthetic"]}
    # Nobody sets a pace there; without an entry a run would wait for somebody.
    assert sources["books"] == {"0": []}
    assert sources["signals"] == {"0": ["triggers/bars/0", "triggers/macro/0"]}


def test_two_runs_of_the_same_have_the_same_run_id_and_topics_of_their_own(tmp_path: Path) -> None:
    one, _ = prepared(tmp_path, chosen_source(synthetic=3), "t")
    two, _ = prepared(tmp_path, chosen_source(synthetic=3), "t")
    other, _ = prepared(tmp_path, chosen_source(synthetic=4), "t")
    assert one.run_id == two.run_id != other.run_id
    assert len({one.prefix, two.prefix, other.prefix}) == 3


def test_a_live_run_is_like_no_other_and_names_its_exchange(tmp_path: Path) -> None:
    one, configuration = prepared(tmp_path, chosen_source(live="kraken"), "t")
    two, _ = prepared(tmp_path, chosen_source(live="kraken"), "t")
    assert one.run_id != two.run_id
    assert not one.is_paced
    names = [item.instrument_id for item in configuration.of(Instrument)]
    assert names == ["BTCUSDT.KRAKEN", "ETHUSDT.KRAKEN"]
