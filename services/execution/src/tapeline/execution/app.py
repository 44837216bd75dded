"""Wiring of execution: keys, the core, the driver."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tapeline.contracts.orders import ApprovedOrder
from tapeline.execution.core import ExecutionCore
from tapeline.execution.external_state import OUTSIDE_MODES
from tapeline.execution.last_look import LastLook, is_send
from tapeline.execution.outside.thread import SenderThread, Shell
from tapeline.execution.settings import ExecutionSettings
from tapeline.execution.state import ExecutionState
from tapeline.execution.switchboard import CONTROL_RECORDS, is_released
from tapeline.runtime.core import Context
from tapeline.runtime.money import MoneyService, run_money_service
from tapeline.runtime.settings import SettingsError, load_settings, main_guard
from tapeline.runtime.signing import (
    OPERATOR_FOLDER,
    SEAL_FOLDER,
    KeyRing,
    OperatorKeys,
    seal_verdict,
    signature_verdict,
)
from tapeline.runtime.telemetry import configure_logging
from tapeline.runtime.trip_watch import TripWatch

SLOT = 1
"""Number of execution among the services of the money path."""


class Verdicts:
    """What the shell finds about approvals and control records when they come in."""

    def __init__(self, seals: KeyRing, operators: OperatorKeys) -> None:
        self._seals = seals
        self._operators = operators

    def verdict(self, _topic: str, record: Any) -> str:
        """Stable code of what is wrong with a record, or empty."""
        if isinstance(record, ApprovedOrder):
            return seal_verdict(record, self._seals)
        if isinstance(record, CONTROL_RECORDS):
            return signature_verdict(record, self._operators)
        return ""


def make_service(settings: ExecutionSettings) -> MoneyService[ExecutionState]:
    """The service as the driver runs it; raises SettingsError or SigningError without keys."""
    folder = _keys_dir(settings)
    seals = KeyRing.from_folder(folder / SEAL_FOLDER)
    operators = OperatorKeys.from_folder(folder / OPERATOR_FOLDER)
    # A missing key is told at the start; later on it refuses whatever it should verify.
    seals.keys()
    operators.keys()
    rules = settings.rules()

    def make_core(context: Context) -> ExecutionCore:
        return ExecutionCore(context, rules)

    return MoneyService(
        name=ExecutionSettings.service,
        slot=SLOT,
        make_core=make_core,
        verdict=Verdicts(seals, operators).verdict,
        check=LastLook(seals).check,
        is_released=lambda state, trip: is_released(state.switchboard, trip),
        is_send=is_send,
    )


def _keys_dir(settings: ExecutionSettings) -> Path:
    if settings.keys_dir is None:
        raise SettingsError(
            "TAPELINE_KEYS_DIR is not set; without keys no approval can be verified.",
            "Set it to the folder that `tapeline keys create` made.",
        )
    return settings.keys_dir


def run() -> int:
    """Runs the service until it is told to stop."""
    settings = load_settings(ExecutionSettings)
    service = make_service(settings)
    if settings.mode.value not in OUTSIDE_MODES:
        return run_money_service(service, settings)
    configure_logging(settings, service.name)
    trips = TripWatch.of(service.name, settings)
    trips.start()
    seals = KeyRing.from_folder(_keys_dir(settings) / SEAL_FOLDER)
    shell = Shell(
        verdict=service.verdict, seal=lambda record: seal_verdict(record, seals), trips=trips
    )
    with SenderThread(settings, shell):
        return run_money_service(service, settings, trips)


def main() -> int:
    """Entry of the process; returns its exit code."""
    return main_guard(run)
