"""Settings of execution: TAPELINE_EXECUTION_..., beside those of every service."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from tapeline.execution.admission import SECOND_NS, Rules
from tapeline.runtime.settings import ServiceSettings


class ExecutionSettings(ServiceSettings):
    """What a deployment of execution may tune."""

    service: ClassVar[str] = "execution"

    risk_heartbeat_ms_max: int = Field(default=2000, ge=100, le=60_000)
    """an older sign of life of risk refuses every new order; not looked at in paced runs"""
    approval_kept_s: int = Field(default=60, ge=10, le=3600)
    """how long past its expiry a used approval is remembered by id"""
    ended_order_kept_s: int = Field(default=10, ge=1, le=86_400)
    """how long an ended order is remembered for what a venue still says about it"""
    external_order_kept_s: int = Field(default=3600, ge=300, le=86_400)
    """the same at an external venue, whose fills may be found late"""
    venue_poll_ms: int = Field(default=1000, ge=50, le=60_000)
    """pause between two polls of an account at an external venue"""
    clock_skew_ms_max: int = Field(default=1000, ge=0, le=60_000)
    """what the clocks of the venue and this machine may differ by"""

    def rules(self) -> Rules:
        """The core's part of the settings."""
        return Rules(
            risk_heartbeat_age_ns_max=self.risk_heartbeat_ms_max * 1_000_000,
            approval_kept_ns=self.approval_kept_s * SECOND_NS,
            ended_order_kept_ns=self.ended_order_kept_s * SECOND_NS,
            external_order_kept_ns=self.external_order_kept_s * SECOND_NS,
        )
