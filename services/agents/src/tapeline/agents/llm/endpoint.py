"""Where the model is and what a call may cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A model that can be asked."""

    base_url: str
    """without a final slash"""
    model: str
    api_key: str = field(default="", repr=False)
    call_timeout_s: float = 4.0
    deadline_s: float = 5.0
    answer_tokens_max: int = 2000
    temperature: float | None = 0.0

    @property
    def is_local(self) -> bool:
        """On this machine: no proxy stands between."""
        return urlsplit(self.base_url).hostname in LOOPBACK
