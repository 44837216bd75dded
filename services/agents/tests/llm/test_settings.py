"""Settings of the model: what starts, and the one sentence of what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from tapeline.agents.llm.endpoint import Endpoint
from tapeline.agents.llm.settings import LlmSettings, endpoint_of
from tapeline.runtime.exits import Failure
from tapeline.runtime.settings import ServiceSettings, SettingsError, load_settings


class AgentsLike(LlmSettings, ServiceSettings):
    """As the service derives its settings."""

    service: ClassVar[str] = "agents"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text("sk-secret\n")
    path.chmod(0o600)
    return path


def test_without_settings_the_offline_model_is_asked() -> None:
    endpoint = endpoint_of(LlmSettings())
    assert endpoint.model == "offline-rules-1"
    assert endpoint.base_url == "http://127.0.0.1:8095/v1"
    assert endpoint.deadline_s == 5.0
    assert endpoint.is_local


def test_the_environment_names_an_endpoint(monkeypatch: pytest.MonkeyPatch, key_file: Path) -> None:
    monkeypatch.setenv("TAPELINE_AGENTS_LLM_BASE_URL", "https://models.example/v1/")
    monkeypatch.setenv("TAPELINE_AGENTS_LLM_MODEL", "big-1")
    monkeypatch.setenv("TAPELINE_AGENTS_LLM_API_KEY_FILE", str(key_file))
    monkeypatch.setenv("TAPELINE_AGENTS_LLM_DEADLINE_S", "30")
    endpoint = endpoint_of(load_settings(AgentsLike))
    assert endpoint == Endpoint(
        base_url="https://models.example/v1", model="big-1", api_key="sk-secret", deadline_s=30
    )
    assert "sk-secret" not in repr(endpoint)


def test_a_misspelt_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPELINE_AGENTS_LLM_MODLE", "big-1")
    with pytest.raises(SettingsError, match="TAPELINE_AGENTS_LLM_MODLE"):
        load_settings(AgentsLike)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"llm_api_key_file": Path("k")}, "BASE_URL"),
        ({"llm_model": "big-1"}, "BASE_URL"),
        ({"llm_base_url": "https://models.example/v1"}, "LLM_MODEL"),
        (
            {
                "llm_base_url": "https://models.example",
                "llm_model": "m",
                "llm_api_key_file": Path("/no/such"),
            },
            "/no/such",
        ),
    ],
)
def test_half_an_endpoint_is_refused_with_its_remedy(values: dict[str, Any], named: str) -> None:
    with pytest.raises(Failure) as failure:
        endpoint_of(LlmSettings(**values))
    assert named in str(failure.value)


def keyed(path: Path, base_url: str = "https://models.example/v1") -> Endpoint:
    settings = LlmSettings(llm_base_url=base_url, llm_model="m", llm_api_key_file=path)
    return endpoint_of(settings)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o700])
def test_a_key_file_that_others_can_read_is_refused(key_file: Path, mode: int) -> None:
    key_file.chmod(mode)
    with pytest.raises(Failure, match="chmod 600"):
        keyed(key_file)


@pytest.mark.parametrize("content", ["", "\n", "two words", "two\nlines", "k" * 5000, "kéy"])
def test_a_key_file_without_one_key_is_refused(key_file: Path, content: str) -> None:
    key_file.write_text(content)
    with pytest.raises(Failure, match="does not hold one key"):
        keyed(key_file)


def test_a_key_is_not_sent_in_the_clear(key_file: Path) -> None:
    with pytest.raises(SettingsError, match="https"):
        keyed(key_file, "http://models.example/v1")
    assert keyed(key_file, "http://127.0.0.1:9/v1").api_key == "sk-secret"
