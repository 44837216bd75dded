"""The keys of a simulated deployment, made of its seed; rotation and revocation at will."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tapeline.runtime.clock import SYSTEM
from tapeline.runtime.keys import KeyRing, Keys, OperatorKeys, Signer


def secret(seed: int, name: str) -> bytes:
    """A key that only depends on the seed and its name."""
    return hashlib.sha256(f"{seed}/{name}".encode()).digest()


class Seals:
    """Secrets that risk and execution share. Both see a change at once; the records on their way
    do not."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.number = 1
        self.keys: Keys[bytes] = Keys(valid={"k1": secret(seed, "k1")}, active="k1")
        self.rings = (self._ring(), self._ring())

    def _ring(self) -> KeyRing:
        return KeyRing(lambda: self.keys, None, SYSTEM)

    def rotate(self, *, revokes: bool) -> None:
        """A new key signs; the old one stays valid for what is on its way, or is revoked."""
        old = self.keys.active
        self.number += 1
        active = f"k{self.number}"
        valid = {active: secret(self._seed, active)}
        revoked = self.keys.revoked
        if revokes:
            revoked |= {old}
        else:
            valid[old] = self.keys.valid[old]
        self.keys = Keys(valid=valid, active=active, revoked=revoked)
        for ring in self.rings:
            ring._keys = None


class Operators:
    """One operator who may, and a stranger who may not."""

    def __init__(self, seed: int) -> None:
        self.known = self._signer(seed, "ada")
        self.stranger = self._signer(seed, "eve")
        public = self.known.private_key.public_key()
        self.ring = OperatorKeys(lambda: Keys(valid={"ada": public}, active=""), None, SYSTEM)

    @staticmethod
    def _signer(seed: int, name: str) -> Signer:
        return Signer(
            key_id=name, private_key=Ed25519PrivateKey.from_private_bytes(secret(seed, name))
        )
