"""Rings of keys: folders with one file a key, checked before use and watched while running.

A ring holds `<key_id>.key` (secrets, 32 bytes or more, hex or base64, closed to group and others)
or `<key_id>.pub` (public keys of operators). The file `active` names the key that signs; without
it the newest does. The file `revoked` lists key ids, one a line. Two secrets may be valid at a
time, for rotation. Changes of the folder are taken up while running.

Errors:
    SigningError       a ring cannot be used; has cause, remedy and a stable `code`
    ├── KeyMissing     no folder, or no key in it
    ├── KeyUnsafe      others could read or change it
    └── KeyUnreadable  not a key, or the folder contradicts itself
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import secrets
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Generic, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tapeline.runtime.clock import SYSTEM, Clock
from tapeline.runtime.exits import USAGE, Failure

SEAL_FOLDER: Final = "seal"
"""Folder of a deployment's keys with the secrets that risk and execution share."""
OPERATOR_FOLDER: Final = "operators"
"""Folder of a deployment's keys with the public keys of operators."""
GROUP_FOLDER: Final = "groups"
"""Folder of a deployment's keys with one folder of secrets for each external group."""
SECRET_BYTES: Final = 32
FILE_BYTES_MAX: Final = 4096
KEYS_MAX: Final = 2
RELOAD_S: Final = 0.25
KEY_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
Key = TypeVar("Key")


class SigningError(Failure):
    """A ring cannot be used."""

    exit_code = USAGE
    code: ClassVar[str] = "KEY_UNUSABLE"


class KeyMissing(SigningError):
    """No folder, or no key in it."""

    code = "KEY_MISSING"


class KeyUnsafe(SigningError):
    """Others could read a secret, or change a key."""

    code = "KEY_UNSAFE"


class KeyUnreadable(SigningError):
    """Not a key, or the folder contradicts itself."""

    code = "KEY_UNREADABLE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys(Generic[Key]):
    """The keys of a ring at one moment."""

    valid: Mapping[str, Key]
    active: str
    """the one that signs"""
    revoked: frozenset[str] = frozenset()


class Ring(Generic[Key]):
    """Keys that may change while we run; a use sees the folder as it was at most 0.25 s ago."""

    def __init__(self, read: Callable[[], Keys[Key]], folder: Path | None, clock: Clock) -> None:
        self._read = read
        self._folder = folder
        self._clock = clock
        self._keys: Keys[Key] | None = None
        self._stamp: tuple[object, ...] = ()
        self._checked_s = 0.0

    def keys(self) -> Keys[Key]:
        """The keys now; raises SigningError while there are none that can be used."""
        now_s = self._clock.monotonic_s()
        if self._keys is not None and (self._folder is None or now_s - self._checked_s < RELOAD_S):
            return self._keys
        stamp = _stamp(self._folder)
        if self._keys is None or stamp != self._stamp:
            # Forgotten first: keys that can no longer be read must not stay in use.
            self._keys = None
            self._keys = self._read()
            self._stamp = stamp
        self._checked_s = now_s
        return self._keys

    def keys_now(self) -> Keys[Key]:
        """The keys as the folder is at this moment: whoever signs may have taken up a new key a
        quarter of a second before we look again."""
        self._checked_s = float("-inf")
        return self.keys()

    def problem(self) -> str:
        """Stable code of why nothing can be signed or verified now, or empty."""
        try:
            self.keys()
        except SigningError as error:
            return error.code
        return ""


class KeyRing(Ring[bytes]):
    """Secrets for HMAC-SHA-256."""

    @classmethod
    def from_folder(cls, folder: Path, clock: Clock = SYSTEM) -> KeyRing:
        """The ring in a folder; nothing is read before the first use."""
        return cls(lambda: _read_secrets(folder), folder, clock)

    @classmethod
    def of(cls, valid: Mapping[str, bytes], active: str, revoked: frozenset[str]) -> KeyRing:
        """A ring in memory, for runs that sign with a throw-away key."""
        return cls(lambda: Keys(valid=valid, active=active, revoked=revoked), None, SYSTEM)


class OperatorKeys(Ring[Ed25519PublicKey]):
    """Public keys of operators."""

    @classmethod
    def from_folder(cls, folder: Path, clock: Clock = SYSTEM) -> OperatorKeys:
        """The ring in a folder; nothing is read before the first use."""
        return cls(lambda: _read_public_keys(folder), folder, clock)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """An operator's private key."""

    key_id: str
    private_key: Ed25519PrivateKey

    @classmethod
    def from_file(cls, path: Path) -> Signer:
        """The key in `<key_id>.key`; raises SigningError."""
        seed = _read_secret(path)
        if len(seed) != SECRET_BYTES:
            raise KeyUnreadable(
                f"{path} holds {len(seed)} bytes; an Ed25519 key has {SECRET_BYTES}.",
                "Create a new one with `tapeline keys create`.",
            )
        return cls(key_id=path.stem, private_key=Ed25519PrivateKey.from_private_bytes(seed))


def group_folder(keys: Path, group_id: str) -> Path:
    """Where the secrets of an external group are; raises KeyUnreadable for a name that would lead
    elsewhere."""
    if not KEY_ID.fullmatch(group_id) or not group_id.strip("."):
        raise KeyUnreadable(
            f"{group_id!r} cannot be the name of a folder of keys.",
            "Name the group with up to 64 letters, digits, dots, dashes and underscores.",
        )
    return keys / GROUP_FOLDER / group_id


def create_secret(folder: Path, key_id: str) -> Path:
    """Writes a new random secret, readable by this user alone, and makes it the active one.

    Raises KeyUnreadable when the id is in use: a key is never overwritten.
    """
    path = _create(folder, f"{_checked_id(key_id, folder)}.key", secrets.token_bytes(SECRET_BYTES))
    activate(folder, key_id)
    return path


def activate(folder: Path, key_id: str) -> None:
    """Makes a key the one that signs, from one moment to the next."""
    _replace(folder / "active", key_id + "\n")


def revoke(folder: Path, key_id: str) -> None:
    """Nothing that a key has signed verifies any more; raises KeyUnreadable for one that signs."""
    paths, revoked = _key_files(folder, ".key")
    if _active(folder, paths, revoked) == key_id:
        raise KeyUnreadable(
            f"{key_id} is the key that signs.", "Make a new one first with `tapeline keys rotate`."
        )
    _replace(folder / "revoked", "\n".join(sorted({*revoked, key_id})) + "\n")


def _replace(path: Path, content: str) -> None:
    """Whoever reads the file meanwhile must never find half of it."""
    part = path.with_name(path.name + ".part")
    part.write_text(content)
    part.replace(path)


def create_signer(private_folder: Path, public_folder: Path, key_id: str) -> Signer:
    """Writes an operator's new key pair; raises KeyUnreadable when the id is in use."""
    private_key = Ed25519PrivateKey.generate()
    name = _checked_id(key_id, private_folder)
    _create(private_folder, f"{name}.key", private_key.private_bytes_raw())
    _create(public_folder, f"{name}.pub", private_key.public_key().public_bytes_raw())
    return Signer(key_id=key_id, private_key=private_key)


def _checked_id(key_id: str, folder: Path) -> str:
    if not KEY_ID.fullmatch(key_id):
        raise KeyUnreadable(
            f"{key_id!r} in {folder} is no name for a key.",
            "Use up to 64 letters, digits, dots, dashes and underscores.",
        )
    return key_id


def _create(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    part = folder / f"{name}.part"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(content.hex() + "\n")
        # Services watch the folder: a key is there whole or not at all, and never overwritten.
        os.link(part, path)
    except FileExistsError:
        raise KeyUnreadable(f"{path} exists.", "Choose another key id.") from None
    except OSError as error:
        raise KeyUnreadable(
            f"{path} cannot be written: {error.strerror}.", "Choose a folder of this user."
        ) from error
    finally:
        with suppress(OSError):
            part.unlink()
    return path


def _stamp(folder: Path | None) -> tuple[object, ...]:
    """Changes whenever a file of the folder does."""
    if folder is None:
        return ()
    try:
        with os.scandir(folder) as entries:
            found = [(entry.name, os.stat(entry.path)) for entry in entries]
    except OSError:
        return ("away",)
    return tuple(
        (name, info.st_mtime_ns, info.st_ctime_ns, info.st_size, info.st_mode, info.st_ino)
        for name, info in sorted(found, key=lambda item: item[0])
    )


def _read_secrets(folder: Path) -> Keys[bytes]:
    paths, revoked = _key_files(folder, ".key")
    if len(paths) > KEYS_MAX:
        names = ", ".join(path.stem for path in paths)
        raise KeyUnreadable(
            f"{folder} holds {len(paths)} valid keys ({names}); at most {KEYS_MAX} may be valid.",
            f"Add the ids of old ones to {folder / 'revoked'}, or delete their files.",
        )
    valid = {path.stem: _read_secret(path) for path in paths}
    return Keys(valid=valid, active=_active(folder, paths, revoked), revoked=revoked)


def _read_public_keys(folder: Path) -> Keys[Ed25519PublicKey]:
    paths, revoked = _key_files(folder, ".pub")
    valid = {}
    for path in paths:
        content = _decoded(path, _read_file(path, stat.S_IWGRP | stat.S_IWOTH, "go-w"))
        if len(content) != SECRET_BYTES:
            raise KeyUnreadable(
                f"{path} holds {len(content)} bytes; an Ed25519 public key has {SECRET_BYTES}.",
                "Write the operator's public key into it, as hex or base64.",
            )
        valid[path.stem] = Ed25519PublicKey.from_public_bytes(content)
    return Keys(valid=valid, active="", revoked=revoked)


def _key_files(folder: Path, suffix: str) -> tuple[list[Path], frozenset[str]]:
    """Files of the keys that are not revoked, by name, and the ids that are."""
    remedy = "Create a key with `tapeline keys create`, or correct TAPELINE_KEYS_DIR."
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == suffix)
        listed = (folder / "revoked").read_text() if (folder / "revoked").exists() else ""
    except FileNotFoundError:
        raise KeyMissing(f"The key folder {folder} does not exist.", remedy) from None
    except (OSError, UnicodeDecodeError) as error:
        raise KeyUnreadable(f"The key folder {folder} cannot be read: {error}.", remedy) from error
    revoked = frozenset(listed.split())
    valid = [path for path in paths if _checked_id(path.stem, folder) not in revoked]
    if not valid:
        raise KeyMissing(f"The key folder {folder} holds no valid {suffix} file.", remedy)
    return valid, revoked


def _active(folder: Path, paths: list[Path], revoked: frozenset[str]) -> str:
    marker = folder / "active"
    try:
        if not marker.exists():
            return max(paths, key=lambda path: (path.stat().st_mtime_ns, path.stem)).stem
        named = marker.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise KeyUnreadable(f"{marker} cannot be read: {error}.", "Write a key id.") from error
    if named not in [path.stem for path in paths]:
        why = "is revoked" if named in revoked else "has no file"
        raise KeyMissing(
            f"{marker} names {named or 'nothing'}, which {why}.", "Write the id of a valid key."
        )
    return named


def _read_secret(path: Path) -> bytes:
    secret = _decoded(path, _read_file(path, stat.S_IRWXG | stat.S_IRWXO, "600"))
    if len(secret) < SECRET_BYTES:
        raise KeyUnreadable(
            f"{path} holds {len(secret)} bytes; a secret has {SECRET_BYTES} or more.",
            "Create a new one with `tapeline keys create`.",
        )
    return secret


def _read_file(path: Path, forbidden: int, mode: str) -> bytes:
    """A file's content, after checking the rights of the very file that was opened."""
    try:
        with path.open("rb") as file:
            info = os.fstat(file.fileno())
            if stat.S_IMODE(info.st_mode) & forbidden:
                raise KeyUnsafe(
                    f"{path} has mode {stat.S_IMODE(info.st_mode):04o}: others could use it.",
                    f"chmod {mode} {path}",
                )
            content = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        raise KeyMissing(f"{path} does not exist.", "Create a key.") from None
    except OSError as error:
        raise KeyUnreadable(
            f"{path} cannot be read: {error.strerror}.",
            "Give the file to the user that runs this service.",
        ) from error
    if len(content) > FILE_BYTES_MAX:
        raise KeyUnreadable(
            f"{path} is longer than {FILE_BYTES_MAX} bytes.", "Write one key into it, and no more."
        )
    return content


def _decoded(path: Path, content: bytes) -> bytes:
    text = content.strip()
    if re.fullmatch(rb"(?:[0-9a-fA-F]{2})+", text):
        return bytes.fromhex(text.decode())
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise KeyUnreadable(
            f"{path} is neither hex nor base64.", "Create a new one with `tapeline keys create`."
        ) from None
