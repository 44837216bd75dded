"""Settings of the audit service: TAPELINE_AUDIT_<FIELD>, besides those all services share."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from tapeline.audit.keys import KEY_FOLDER
from tapeline.runtime.settings import ServiceSettings, TextList


class AuditSettings(ServiceSettings):
    """What the audit reads beyond DATABASE_URL (the role that may only insert and select)."""

    service: ClassVar[str] = "audit"

    chain_keys_dir: Path | None = None
    """folder of chain keys, which no other service needs; None: the folder audit in
    TAPELINE_KEYS_DIR"""
    anchors_dir: Path | None = None
    """folder of anchors.jsonl, on another disk than the database's where possible; required"""
    anchor_rows: int = Field(default=10_000, ge=1)
    """a chain is anchored after so many links"""
    anchor_s: float = Field(default=30.0, ge=0.1, le=3600.0)
    """and every so many seconds while it grows"""
    batch_records: int = Field(default=500, ge=1, le=10_000)
    """most records of one transaction"""
    drain_s: float = Field(default=20.0, ge=0.0, le=600.0)
    """how long SIGTERM may take to chain what Kafka holds already"""
    accepts_loss_of: TextList = ()
    """topics whose records may be missing because Kafka deleted them before they were read;
    without it the audit refuses to go on, with it the gap becomes an incident"""

    @property
    def keys_folder(self) -> Path | None:
        """Where the chain keys are."""
        if self.chain_keys_dir is not None or self.keys_dir is None:
            return self.chain_keys_dir
        return self.keys_dir / KEY_FOLDER
