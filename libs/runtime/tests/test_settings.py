"""Settings: strict names, clear messages, no secret in any of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field

from tapeline.contracts.orders import Mode
from tapeline.runtime import exits
from tapeline.runtime.settings import (
    KafkaSettings,
    ServiceSettings,
    SettingsError,
    TextList,
    load_settings,
    main_guard,
)


class RiskSettings(ServiceSettings):
    service: ClassVar[str] = "risk"
    decision_age_ns_max: int = Field(default=5, gt=0)
    symbols: TextList = ()


class MarketDataSettings(ServiceSettings):
    service: ClassVar[str] = "market-data"
    feed: str = ""


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("TAPELINE_") or name in ("KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL"):
            monkeypatch.delenv(name)


def refusal(cls: type[KafkaSettings]) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        load_settings(cls)
    return caught.value


def test_without_any_variable_a_service_runs_on_paper_and_loopback() -> None:
    settings = load_settings(RiskSettings)
    assert settings.mode is Mode.PAPER
    assert settings.kafka_bootstrap_servers == "127.0.0.1:9092"
    assert settings.health_host == "127.0.0.1"
    assert settings.build_id not in ("", "unknown")


def test_shared_names_and_own_names_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPELINE_RUN_ID", "run7")
    monkeypatch.setenv("TAPELINE_SHARDS", "0, 3,11")
    monkeypatch.setenv("TAPELINE_RISK_DECISION_AGE_NS_MAX", "9")
    monkeypatch.setenv("TAPELINE_RISK_SYMBOLS", '["A","B"]')
    monkeypatch.setenv("TAPELINE_PACED_SOURCES", '{"ticks":{"0":["feed/daily"]}}')
    settings = load_settings(RiskSettings)
    assert settings.run_id == "run7"
    assert settings.shards == (0, 3, 11)
    assert settings.decision_age_ns_max == 9
    assert settings.symbols == ("A", "B")
    assert settings.paced_sources == {"ticks": {"0": ("feed/daily",)}}


def test_the_names_everybody_uses_are_read_too_but_ours_come_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "kafka:9092,other:9093")
    assert load_settings(RiskSettings).kafka_bootstrap_servers == "kafka:9092,other:9093"
    monkeypatch.setenv("TAPELINE_KAFKA_BOOTSTRAP_SERVERS", "mine:1")
    assert load_settings(RiskSettings).kafka_bootstrap_servers == "mine:1"


def test_an_argument_comes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPELINE_RUN_ID", "run7")
    assert load_settings(RiskSettings, run_id="run8").run_id == "run8"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("TAPELINE_RUN_IDD", "TAPELINE_RUN_ID"),
        ("TAPELINE_RISK_DECISION_AGE_MAX_NS", "TAPELINE_RISK_DECISION_AGE_NS_MAX"),
        ("TAPELINE_KAFKA_BOOTSTRAP_SERVER", "TAPELINE_KAFKA_BOOTSTRAP_SERVERS"),
    ],
)
def test_an_unknown_variable_is_named_with_the_nearest_known_one(
    monkeypatch: pytest.MonkeyPatch, name: str, near: str
) -> None:
    monkeypatch.setenv(name, "1")
    error = refusal(RiskSettings)
    assert name in error.cause
    assert near in error.remedy


def test_other_services_names_are_left_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPELINE_RISK_NO_SUCH_SETTING", "1")
    monkeypatch.setenv("TAPELINE_DATA_DIR", "data")
    assert load_settings(MarketDataSettings).feed == ""
    assert "TAPELINE_RISK_NO_SUCH_SETTING" in refusal(RiskSettings).cause


def test_a_service_name_with_a_hyphen_has_an_underscore_in_its_prefix(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TAPELINE_MARKET_DATA_FEED", "daily")
    assert load_settings(MarketDataSettings).feed == "daily"
    monkeypatch.setenv("TAPELINE_FEED", "daily")
    assert "TAPELINE_FEED" in refusal(MarketDataSettings).cause


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("TAPELINE_MODE", "REAL", "REAL"),
        ("TAPELINE_HEALTH_PORT", "70000", "70000"),
        ("TAPELINE_HEALTH_PORT", "http", "integer"),
        ("TAPELINE_SHARDS", "0,0", "distinct"),
        ("TAPELINE_SHARDS", "-1", "distinct"),
        ("TAPELINE_PACED_SOURCES", "{", "TAPELINE_PACED_SOURCES"),
        ("TAPELINE_TOPIC_PREFIX", "a b", "TAPELINE_TOPIC_PREFIX"),
        ("TAPELINE_KAFKA_SASL_PASSWORD_FILE", "no-such-file", "no such file"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka", "host:port"),
        ("TAPELINE_RISK_DECISION_AGE_NS_MAX", "0", "greater than 0"),
    ],
)
def test_a_wrong_value_is_told_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    error = refusal(RiskSettings)
    assert name in error.cause
    assert said in error.cause
    assert error.remedy


def test_a_paced_run_is_never_live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPELINE_MODE", "LIVE")
    assert load_settings(RiskSettings).mode is Mode.LIVE
    monkeypatch.setenv("TAPELINE_IS_PACED", "true")
    assert "cannot be live" in refusal(RiskSettings).cause


def test_all_faults_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPELINE_MODE", "REAL")
    monkeypatch.setenv("TAPELINE_SHARDS", "x")
    monkeypatch.setenv("TAPELINE_NO_SUCH", "1")
    error = refusal(RiskSettings)
    assert all(name in error.cause for name in ("MODE", "SHARDS", "NO_SUCH"))


def test_a_password_in_a_url_is_in_no_message_and_no_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "mysql://u:canary@host/x")
    assert "canary" not in str(refusal(RiskSettings))
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:canary@host/x")
    settings = load_settings(RiskSettings)
    assert settings.database_url.endswith("canary@host/x")
    assert "canary" not in repr(settings)


def test_sasl_needs_a_user_and_a_password_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TAPELINE_KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    assert "USERNAME" in refusal(RiskSettings).cause
    monkeypatch.setenv("TAPELINE_KAFKA_SASL_USERNAME", "risk")
    assert "PASSWORD_FILE" in refusal(RiskSettings).cause
    password = tmp_path / "password"
    password.write_text("secret\n")
    monkeypatch.setenv("TAPELINE_KAFKA_SASL_PASSWORD_FILE", str(password))
    assert load_settings(RiskSettings).kafka_sasl_username == "risk"


def test_the_guard_tells_a_failure_in_two_lines_and_without_a_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run() -> int:
        raise SettingsError("It is wrong.", "Correct it.")

    assert main_guard(run) == exits.USAGE
    assert capsys.readouterr().err == "It is wrong.\nCorrect it.\n"


def test_the_guard_honors_the_exit_code_of_a_failure_and_of_a_clean_run() -> None:
    def fenced() -> int:
        raise exits.Fenced("Another has taken over.", "Nothing to do.")

    assert main_guard(fenced) == exits.FENCED
    assert main_guard(lambda: None) == exits.OK
    assert main_guard(lambda: 3) == 3


def test_the_guard_ends_a_bug_with_its_own_code() -> None:
    def run() -> int:
        raise KeyError("a bug")

    assert main_guard(run) == exits.INTERNAL
