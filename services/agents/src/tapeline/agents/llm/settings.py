"""Settings of the model, and the endpoint made of them.

The agents' settings class derives from `LlmSettings`, so the variables are TAPELINE_AGENTS_LLM_...
Without a base URL and without a key the local offline model server is asked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import BaseModel, Field

from tapeline.agents.llm.endpoint import Endpoint
from tapeline.agents.model_server import OFFLINE_MODEL
from tapeline.runtime.exits import FileUnusable
from tapeline.runtime.settings import SettingsError

OFFLINE_BASE_URL: Final = "http://127.0.0.1:8095/v1"
KEY_MAX_BYTES: Final = 4096


class LlmSettings(BaseModel):
    """Fields that the agents' settings take over."""

    llm_base_url: str = Field(default="", pattern=r"^(https?://[^\s?#@]+)?$", max_length=500)
    """of an OpenAI-compatible endpoint, such as https://api.openai.com/v1; empty: offline model"""
    llm_model: str = Field(default="", max_length=200)
    """model to ask; empty only with the offline model"""
    llm_api_key_file: Path | None = None
    """file with the key alone, mode 0600 or 0400; None where the endpoint needs none"""
    llm_call_timeout_s: float = Field(default=4.0, gt=0, le=300)
    """one call"""
    llm_deadline_s: float = Field(default=5.0, gt=0, le=600)
    """all calls of a cycle; after it the group holds. A paced run may wait longer: it must not
    depend on the machine's speed"""
    llm_answer_tokens_max: int = Field(default=2000, ge=64, le=32000)
    """asked of the endpoint"""
    llm_temperature: float | None = Field(default=0.0, ge=0, le=2)
    """not sent where None: some models refuse it"""


def endpoint_of(settings: LlmSettings) -> Endpoint:
    """The endpoint of the settings; raises SettingsError or FileUnusable naming the remedy."""
    base_url, model = settings.llm_base_url.rstrip("/"), settings.llm_model
    key_file = settings.llm_api_key_file
    if not base_url and key_file is not None:
        raise SettingsError(
            "TAPELINE_AGENTS_LLM_API_KEY_FILE is set, but not the endpoint the key is for.",
            "Set TAPELINE_AGENTS_LLM_BASE_URL, or remove the key to use the offline model.",
        )
    if not base_url and model not in ("", OFFLINE_MODEL):
        raise SettingsError(
            f"TAPELINE_AGENTS_LLM_MODEL is {model!r}, but the offline model is {OFFLINE_MODEL}.",
            "Set TAPELINE_AGENTS_LLM_BASE_URL to the endpoint that serves the model.",
        )
    if base_url and not model:
        raise SettingsError(
            "TAPELINE_AGENTS_LLM_BASE_URL is set, but no model.",
            f"Set TAPELINE_AGENTS_LLM_MODEL ({OFFLINE_MODEL} for the offline model server).",
        )
    endpoint = Endpoint(
        base_url=base_url or OFFLINE_BASE_URL,
        model=model or OFFLINE_MODEL,
        api_key="" if key_file is None else read_key(key_file),
        call_timeout_s=settings.llm_call_timeout_s,
        deadline_s=settings.llm_deadline_s,
        answer_tokens_max=settings.llm_answer_tokens_max,
        temperature=settings.llm_temperature,
    )
    if endpoint.api_key and base_url.startswith("http://") and not endpoint.is_local:
        raise SettingsError(
            f"TAPELINE_AGENTS_LLM_BASE_URL {base_url} would carry the key in the clear.",
            "Use https.",
        )
    return endpoint


def read_key(path: Path) -> str:
    """The key in a file that only its owner may read; raises FileUnusable."""
    try:
        mode = path.stat().st_mode & 0o777
        with path.open("rb") as file:
            content = file.read(KEY_MAX_BYTES + 1)
    except OSError as error:
        raise FileUnusable(
            f"The key file {path} cannot be read: {error.strerror}.",
            "Correct TAPELINE_AGENTS_LLM_API_KEY_FILE.",
        ) from error
    if mode not in (0o600, 0o400):
        raise FileUnusable(
            f"The key file {path} has mode {mode:04o}: others could read the key.",
            f"Run: chmod 600 {path}",
        )
    key = content.strip()
    is_printable = all(0x21 <= byte <= 0x7E for byte in key)
    if not key or len(content) > KEY_MAX_BYTES or not is_printable:
        raise FileUnusable(
            f"The key file {path} does not hold one key.",
            "Put the key alone into it, on one line.",
        )
    return key.decode("ascii")
