"""Settings of the agents: TAPELINE_AGENTS_..., beside those of every service.

Which process this is (triggers, or which groups) is an argument, not a setting. Triggers, groups
and their parameters are records on the topic config.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from tapeline.agents.llm.settings import LlmSettings
from tapeline.runtime.settings import ServiceSettings


class AgentsSettings(ServiceSettings, LlmSettings):
    """What a deployment of triggers and groups may tune."""

    service: ClassVar[str] = "agents"

    strategy_dir: Path | None = None
    """folder of strategy files (strategy_file.py) that config records may name; None: none"""
    checkpoint_input_count: int = Field(default=200, ge=1, le=100_000)
    """inputs of a partition between two checkpoints of triggers; so many are stepped again at a
    start, and there is at most one state record an input"""
