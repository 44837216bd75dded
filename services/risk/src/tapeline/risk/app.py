"""Wiring of risk: keys, the core, the driver."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tapeline.contracts.agents import Decision
from tapeline.contracts.control import Flatten, LocalTrip, SwitchLevel
from tapeline.contracts.orders import ApprovedOrder
from tapeline.risk.authors import Authors
from tapeline.risk.core import RiskCore
from tapeline.risk.settings import RiskSettings
from tapeline.risk.state import RiskState
from tapeline.risk.switchboard import CONTROL_RECORDS, is_released
from tapeline.runtime.money import MoneyService, run_money_service
from tapeline.runtime.settings import SettingsError, load_settings, main_guard
from tapeline.runtime.signing import (
    OPERATOR_FOLDER,
    SEAL_FOLDER,
    KeyMissing,
    KeyRing,
    OperatorKeys,
    seal,
    signature_verdict,
)
from tapeline.runtime.telemetry import get_logger

SLOT = 0
"""Number of risk among the services of the money path."""
log = get_logger(__name__)


class NotSealed(Exception):
    """An approval was about to leave without a code: a bug."""


class Shell:
    """What the shell does that needs keys."""

    def __init__(self, seals: KeyRing, operators: OperatorKeys, authors: Authors) -> None:
        self._seals = seals
        self._operators = operators
        self._authors = authors

    def verdict(self, _topic: str, record: Any) -> str:
        """Stable code of what is wrong with an input, or empty.

        A decision, and a command for which risk would emit orders, is told when nothing can be
        signed, or when its author is not who it says; the journal keeps it, so that a replay denies
        the same.
        """
        if isinstance(record, Decision):
            return self._seals.problem() or self._authors.verdict(record)
        if isinstance(record, CONTROL_RECORDS):
            found = signature_verdict(record, self._operators)
            if not found and isinstance(record, Flatten):
                return self._seals.problem()
            return found
        if isinstance(record, LocalTrip) and record.level is SwitchLevel.FLATTEN:
            return self._seals.problem()
        return ""

    def sign(self, record: Any, body: bytes | None = None) -> Any:
        """An approval with key and code; everything else as it is. `body` is its encoding as it is
        digested, where that is known."""
        return seal(record, self._seals, body) if isinstance(record, ApprovedOrder) else record

    @staticmethod
    def check(record: Any) -> None:
        """Raises on an approval without a code: it must never leave."""
        if isinstance(record, ApprovedOrder) and not record.approval.mac:
            raise NotSealed(f"Approval {record.approval.approval_id} is not sealed.")


def make_service(settings: RiskSettings) -> MoneyService[RiskState]:
    """The service as the driver runs it; raises SettingsError or SigningError without keys."""
    folder = _keys_dir(settings)
    seals = KeyRing.from_folder(folder / SEAL_FOLDER)
    operators = OperatorKeys.from_folder(folder / OPERATOR_FOLDER)
    try:
        seals.keys()
    except KeyMissing as error:
        if not settings.starts_without_key:
            raise
        log.warning("nothing_will_be_approved", cause=error.cause, remedy=error.remedy)
    operators.keys()
    shell = Shell(seals, operators, Authors(folder, operators))
    return MoneyService(
        name=RiskSettings.service,
        slot=SLOT,
        make_core=RiskCore,
        sign=shell.sign,
        signed=frozenset({ApprovedOrder.AVRO}),
        verdict=shell.verdict,
        check=shell.check,
        is_released=is_released,
    )


def _keys_dir(settings: RiskSettings) -> Path:
    if settings.keys_dir is None:
        raise SettingsError(
            "TAPELINE_KEYS_DIR is not set; without keys nothing can be approved.",
            "Set it to the folder that `tapeline keys create` made.",
        )
    return settings.keys_dir


def run() -> int:
    """Runs the service until it is told to stop."""
    settings = load_settings(RiskSettings)
    return run_money_service(make_service(settings), settings)


def main() -> int:
    """Entry of the process; returns its exit code."""
    return main_guard(run)
