"""Which user PostgreSQL runs as. It refuses root, so root lends it a humbler one."""

import os
import pwd
import stat
import sys
from pathlib import Path

from tapeline.cli.stack.child import Identity
from tapeline.cli.stack.errors import FolderUnfit

# A user made for a database server is better than the one all daemons may share.
CANDIDATES = ("postgres", "nobody")


def server_identity(data_dir: Path, *needed: Path) -> Identity | None:
    """None if we are not root; else the user that owns the data, or the first candidate."""
    if os.geteuid() != 0:
        return None
    user = _owner(data_dir) or _first_candidate()
    hidden = [path for path in (data_dir, *needed) if not _reaches(user, path)]
    if hidden and not sys.platform.startswith("linux"):
        raise FolderUnfit(
            f"PostgreSQL does not run as root, and user {user.pw_name} cannot reach {hidden[0]}.",
            "Run as another user than root, or keep data and Python outside private folders.",
        )
    return Identity(uid=user.pw_uid, gid=user.pw_gid, traverse=bool(hidden))


def _owner(data_dir: Path) -> pwd.struct_passwd | None:
    try:
        uid = data_dir.stat().st_uid
        return pwd.getpwuid(uid) if uid != 0 else None
    except (OSError, KeyError):
        return None


def _first_candidate() -> pwd.struct_passwd:
    for name in CANDIDATES:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise FolderUnfit(
        f"PostgreSQL does not run as root, and there is no user named {' or '.join(CANDIDATES)}.",
        "Run as another user than root, or set DATABASE_URL to an existing PostgreSQL.",
    )


def _reaches(user: pwd.struct_passwd, path: Path) -> bool:
    """Whether the user may pass every folder above the path."""
    return all(_passes(user, folder) for folder in path.resolve().parents)


def _passes(user: pwd.struct_passwd, folder: Path) -> bool:
    mode = folder.stat()
    if mode.st_uid == user.pw_uid:
        return bool(mode.st_mode & stat.S_IXUSR)
    if mode.st_gid == user.pw_gid:
        return bool(mode.st_mode & stat.S_IXGRP)
    return bool(mode.st_mode & stat.S_IXOTH)
