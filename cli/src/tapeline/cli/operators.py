"""The operator's key of a run: what it signs is said by whoever may use this machine's account."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tapeline.cli.runs import OPERATOR
from tapeline.contracts.agents import Decision
from tapeline.runtime.keys import OPERATOR_FOLDER, Signer, create_signer
from tapeline.runtime.signing import sign_as_author


def operator_key(keys: Path) -> Signer | None:
    """The key in a run's folder of keys, made where nobody has one yet; None where the run has
    operators whose keys are kept elsewhere. Raises SigningError for one that cannot be used."""
    path = keys / "private" / f"{OPERATOR}.key"
    if path.exists():
        return Signer.from_file(path)
    public = keys / OPERATOR_FOLDER
    if public.is_dir() and any(public.glob("*.pub")):
        return None
    return create_signer(keys / "private", public, OPERATOR)


def signed_by_hand(decision: Decision, run_id: str, signer: Signer) -> Decision:
    """An operator's decision with the operator's signature, for one run."""
    return sign_as_author(replace(decision, run_id=run_id), signer)
