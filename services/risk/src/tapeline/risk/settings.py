"""Settings of risk: TAPELINE_RISK_..., beside those of every service.

Limits are not settings: they are in the mandates on `config`, so that every decision can be
explained, and replayed, from what was in force at the time.
"""

from __future__ import annotations

from typing import ClassVar

from tapeline.runtime.settings import ServiceSettings


class RiskSettings(ServiceSettings):
    """What a deployment of risk may tune."""

    service: ClassVar[str] = "risk"

    starts_without_key: bool = False
    """True: start without a signing key and deny everything KEY_MISSING until there is one"""
