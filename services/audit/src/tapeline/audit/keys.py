"""Keys of the hash chains: a folder as the other rings of a deployment (tapeline.runtime.keys).

`<key_id>.key` holds a secret as hex, readable by its owner alone; the file `active` names the key
under which chains go on, without it the newest does. Unlike a ring of seals this one never forgets:
a key is needed for as long as rows under it are kept, so any number may lie here.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tapeline.audit.chain import ChainKey
from tapeline.audit.errors import KeysUnfit
from tapeline.runtime.keys import SECRET_BYTES, create_secret

KEY_FOLDER: Final = "audit"
"""Folder of a deployment's keys with the chain keys, which no other service needs."""
SUFFIX: Final = ".key"
CREATE: Final = "Create a key with `tapeline keys create`."


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
            f"{CREATE[:-1]}, and set TAPELINE_AUDIT_CHAIN_KEYS_DIR or TAPELINE_KEYS_DIR.",
        )
    paths = sorted(folder.glob(f"*{SUFFIX}"))
    if not paths:
        raise KeysUnfit(f"The folder of chain keys {folder} holds no *{SUFFIX} file.", CREATE)
    known = {path.stem: _load(path) for path in paths}
    return ChainKeys(current=known[_active(folder, paths)], known=known)


def create_key(folder: Path, key_id: str) -> ChainKey:
    """Draws a new key, which becomes the active one; raises SigningError where it exists."""
    return _load(create_secret(folder, key_id))


def _active(folder: Path, paths: list[Path]) -> str:
    marker = folder / "active"
    if not marker.exists():
        return max(paths, key=lambda path: (path.stat().st_mtime_ns, path.stem)).stem
    named = marker.read_text().strip()
    if named not in [path.stem for path in paths]:
        raise KeysUnfit(f"{marker} names {named or 'nothing'}, which has no file.", CREATE)
    return named


def _load(path: Path) -> ChainKey:
    try:
        with path.open("rb") as file:
            # Of the very file that was opened.
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read(4096)
    except OSError as error:
        raise _unfit(path, f"cannot be read: {error.strerror}", "Make it readable.") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise _unfit(path, f"may be used by others (mode {mode:04o})", f"Run chmod 600 {path}.")
    try:
        secret = bytes.fromhex(content.decode("ascii").strip())
    except ValueError as error:
        raise _unfit(path, "is not hex", CREATE) from error
    if len(secret) < SECRET_BYTES:
        raise _unfit(path, f"holds {len(secret)} bytes, fewer than {SECRET_BYTES}", CREATE)
    return ChainKey(key_id=path.stem, secret=secret)


def _unfit(path: Path, problem: str, remedy: str) -> KeysUnfit:
    return KeysUnfit(f"The chain key {path} {problem}.", remedy)
