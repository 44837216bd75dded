"""Makes the tables of the intents and their role: `python -m tapeline.execution.intents`.

DATABASE_URL names the database's owner. The role's password is kept as libpq reads it
(`...?passfile=PATH`), made where there is none.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from pathlib import Path
from urllib.parse import quote

from tapeline.execution.intents.migrate import APP_ROLE, migrate
from tapeline.runtime.exits import FileUnusable
from tapeline.runtime.settings import SettingsError, main_guard


def run(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tapeline.execution.intents",
        description="Makes the tables in which execution writes what it sends to venues.",
    )
    parser.add_argument("--passfile", type=Path, required=True, help="the role's password")
    parser.add_argument(
        "--password-file", type=Path, help="password of the user in DATABASE_URL, alone"
    )
    parser.add_argument("--role", default=APP_ROLE, help="the role execution logs in as")
    options = parser.parse_args(arguments)
    url = _with_password(os.environ.get("DATABASE_URL", ""), options.password_file)
    passfile: Path = options.passfile
    if not passfile.exists():
        password = secrets.token_urlsafe(24)
        migrate(url, app_role=options.role, app_password=password)
        _write(passfile, f"*:*:*:{options.role}:{password}\n")
    else:
        password = _read(passfile).rpartition(":")[2]
        migrate(url, app_role=options.role, app_password=password)
    sys.stdout.write(f"tables: {options.role} may write intents\n")
    return 0


def _with_password(url: str, password_file: Path | None) -> str:
    scheme, _, rest = url.partition("://")
    user, _, place = rest.partition("@")
    if not place:
        raise SettingsError(
            "DATABASE_URL does not name a user and a database.",
            "Write postgresql://user@host:port/database.",
        )
    if password_file is None:
        return url
    return f"{scheme}://{user}:{quote(_read(password_file), safe='')}@{place}"


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise FileUnusable(
            f"{path} cannot be read: {error}.", "Give it to the user of this process."
        ) from error


def _write(path: Path, text: str) -> None:
    try:
        path.touch(mode=0o600)
        path.chmod(0o600)
        path.write_text(text)
    except OSError as error:
        raise FileUnusable(
            f"{path} cannot be written: {error.strerror}.", "Choose a folder of this user."
        ) from error


if __name__ == "__main__":
    sys.exit(main_guard(run))
