from __future__ import annotations

import pytest

from tapeline.market_data.app import main
from tapeline.market_data.settings import MarketDataSettings
from tapeline.runtime.settings import SettingsError, load_settings

SECOND = 1_000_000_000


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TAPELINE_DATA_DIR", raising=False)


def test_a_slice_is_as_long_as_the_shortest_interval_unless_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert load_settings(MarketDataSettings).slice_ns() == 60 * SECOND
    monkeypatch.setenv("TAPELINE_MARKET_DATA_INTERVALS", "1d")
    assert load_settings(MarketDataSettings).slice_ns() == 86_400 * SECOND
    monkeypatch.setenv("TAPELINE_MARKET_DATA_SLICE_LENGTH", "1h")
    assert load_settings(MarketDataSettings).slice_ns() == 3600 * SECOND


def test_options_of_a_feed_are_json_and_the_command_line_comes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TAPELINE_MARKET_DATA_FEED", "synthetic")
    monkeypatch.setenv("TAPELINE_MARKET_DATA_FEED_OPTIONS", '{"seed": "7"}')
    assert load_settings(MarketDataSettings).feed_options == {"seed": "7"}
    assert load_settings(MarketDataSettings, feed="ccxt").feed == "ccxt"


def test_the_gate_takes_the_silence_of_the_feed_unless_said() -> None:
    assert MarketDataSettings().limits(7).silence_ns_max == 7
    assert MarketDataSettings(silence_s_max=0).limits(7).silence_ns_max == 0
    assert MarketDataSettings(silence_s_max=2).limits(7).silence_ns_max == 2 * SECOND


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("INTERVALS", "5m,1m"),
        ("INTERVALS", "2m,3m"),
        ("INTERVALS", "500ms"),
        ("INTERVALS", "soon"),
        ("SLICE_LENGTH", "1500ms"),
        ("FEED_OPTIONS", "seed=7"),
        ("SPEED", "0"),
        ("ABSURD_RATIO", "1"),
        ("FEEDS", "x"),
    ],
)
def test_a_wrong_or_unknown_setting_refuses_to_start_and_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    variable = f"TAPELINE_MARKET_DATA_{name}"
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        load_settings(MarketDataSettings)
    assert variable in str(caught.value)


def test_an_unknown_feed_ends_the_process_with_one_message(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["feed", "--feed", "bloomberg"]) == 64
    written = capsys.readouterr().err
    assert "There is no feed 'bloomberg'." in written
    assert "Traceback" not in written


def test_a_feed_without_its_data_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["feed", "--feed", "datasets"]) == 64
    assert "TAPELINE_DATA_DIR" in capsys.readouterr().err
