"""Keys of the hash chains: a folder of files, one key a file, readable by their owner alone.

<key_id>.key holds at least 32 bytes as hex. The chain is continued under the newest one by name
(name them by date); the others verify what was written under them.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tapeline.audit.chain import ChainKey
from tapeline.audit.errors import KeysUnfit

SUFFIX: Final = ".key"
SECRET_BYTES_MIN: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainKeys:
    """The keys of a folder."""

    current: ChainKey
    """under which new links are made"""
    known: Mapping[str, ChainKey]
    """all, by key id"""


def load_keys(folder: Path | None) -> ChainKeys:
    """The chain keys of a folder; raises KeysUnfit."""
    if folder is None or not folder.is_dir():
        raise KeysUnfit(
            f"The folder of chain keys {folder or '(not set)'} does not exist.",
            "Create a key with `tapeline keys create`, and set TAPELINE_AUDIT_CHAIN_KEYS_DIR.",
        )
    found = {path.stem: _load(path) for path in sorted(folder.glob(f"*{SUFFIX}"))}
    if not found:
        raise KeysUnfit(
            f"The folder of chain keys {folder} holds no *{SUFFIX} file.",
            "Create a key with `tapeline keys create`.",
        )
    return ChainKeys(current=found[max(found)], known=found)


def create_key(folder: Path, key_id: str) -> ChainKey:
    """Draws a new key and writes it with mode 0600; raises KeysUnfit where it exists."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{key_id}{SUFFIX}"
    secret = secrets.token_bytes(SECRET_BYTES_MIN)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secret.hex() + "\n")
    except OSError as error:
        raise KeysUnfit(
            f"The chain key {path} cannot be created: {error.strerror}.",
            "Choose another name, or a folder this user may write to.",
        ) from error
    return ChainKey(key_id=key_id, secret=secret)


def _load(path: Path) -> ChainKey:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise _unfit(path, "cannot be read", "Make it readable for this user.") from error
    if mode & 0o077:
        raise _unfit(path, f"may be read by others (mode {mode:04o})", f"Run chmod 600 {path}.")
    try:
        secret = bytes.fromhex(text.strip())
    except ValueError as error:
        raise _unfit(path, "is not hex", "Create a key with `tapeline keys create`.") from error
    if len(secret) < SECRET_BYTES_MIN:
        raise _unfit(path, "is too short", "Create a key with `tapeline keys create`.")
    return ChainKey(key_id=path.stem, secret=secret)


def _unfit(path: Path, problem: str, remedy: str) -> KeysUnfit:
    return KeysUnfit(f"The chain key {path} {problem}.", remedy)
