"""Who made a decision: the keys of external groups and of operators, as the shell verifies them.

A group's secrets are in a folder of its name below `groups/` of the deployment's keys, a ring like
any other: two may be valid, revoked ones are listed. What is signed is described in
tapeline.runtime.signing; key_id and code are left out of the body. Orders by hand (MANUAL) bear an
operator's signature, by the key that signs control records too.
"""

from __future__ import annotations

from pathlib import Path

from tapeline.contracts.agents import Decision
from tapeline.risk.guards import AUTHOR_PREFIX
from tapeline.risk.state import MANUAL
from tapeline.runtime.keys import KeyMissing, SigningError, group_folder
from tapeline.runtime.signing import KeyRing, OperatorKeys, author_verdict, seal_verdict


class Authors:
    """Verifies signed decisions; keeps a ring for each group that has a folder."""

    def __init__(self, keys: Path, operators: OperatorKeys) -> None:
        """`keys` is the deployment's folder of keys."""
        self._keys = keys
        self._operators = operators
        self._rings: dict[str, KeyRing] = {}

    def verdict(self, decision: Decision) -> str:
        """AUTHOR_ and the code of what is wrong with a decision's signature, or empty.

        Whether a decision has to be signed is the core's to say: it knows the group.
        """
        if not decision.mac and not decision.key_id:
            return ""
        if decision.group_id == MANUAL:
            code = author_verdict(decision, self._operators)
        else:
            ring = self._ring(decision.group_id)
            code = KeyMissing.code if ring is None else seal_verdict(decision, ring)
        return f"{AUTHOR_PREFIX}{code}" if code else ""

    def _ring(self, group_id: str) -> KeyRing | None:
        known = self._rings.get(group_id)
        if known is not None:
            return known
        try:
            # A group's name comes from outside: it must not lead elsewhere.
            folder = group_folder(self._keys, group_id)
        except SigningError:
            return None
        if not folder.is_dir():
            return None
        return self._rings.setdefault(group_id, KeyRing.from_folder(folder))
