"""Makes Kafka and PostgreSQL ready for services in containers: `python -m tapeline.cli.prepare`.

What `tapeline up` does for the local stack, in parts that a deployment chooses from: topics, the
configuration on `config`, keys, the audit's tables and role, those of execution's intents. All of
it may run again: what is there stays, but the configuration, of which the newest version counts.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from tapeline.audit.keys import KEY_FOLDER, create_key
from tapeline.audit.migrate import APP_ROLE, migrate
from tapeline.cli.configuration import load_configuration
from tapeline.cli.publishing import publish
from tapeline.cli.sources import PRESETS
from tapeline.runtime.exits import UNAVAILABLE, Failure, FileUnusable
from tapeline.runtime.kafka import wait_for_kafka
from tapeline.runtime.keys import (
    OPERATOR_FOLDER,
    SEAL_FOLDER,
    create_secret,
    create_signer,
    group_folder,
)
from tapeline.runtime.settings import ServiceSettings, SettingsError, load_settings, main_guard
from tapeline.runtime.topology import create_topics

OPERATOR = "operator"
FIRST_KEY = "first"


class IntentsNotMade(Failure):
    """Execution's own command has failed, and has said why."""

    exit_code = UNAVAILABLE


class PrepareSettings(ServiceSettings):
    """The settings of all services; there are none of its own."""

    service: ClassVar[str] = "cli"


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry of the process; returns its exit code."""
    parser = _parser()
    parsed = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    if parsed.group and parsed.keys is None:
        parser.error("--group needs --keys: the folder in which its secret is made")
    return main_guard(lambda: run(parsed))


def run(arguments: Namespace) -> int:
    """Does the parts that were asked for, in the order in which services need them."""
    settings = load_settings(PrepareSettings)
    if arguments.keys is not None:
        make_keys(arguments.keys, arguments.group)
    if arguments.passfile is not None:
        make_tables(settings, arguments.password_file, arguments.passfile, arguments.role)
    if arguments.intents_passfile is not None:
        make_intents(arguments.password_file, arguments.intents_passfile)
    if arguments.topics:
        wait_for_kafka(settings)
        made = create_topics(settings, replication_factor=arguments.replication)
        sys.stdout.write(f"topics: {made} made\n")
    if arguments.configuration is not None:
        wait_for_kafka(settings)
        configuration = load_configuration(_configuration_file(arguments.configuration))
        sent = publish(settings, settings.run_id, configuration)
        sys.stdout.write(f"configuration: {sent} records\n")
    return 0


def make_keys(folder: Path, groups: Sequence[str] = ()) -> None:
    """Seals, an operator's pair, chain keys and secrets of groups outside, each where there is
    none yet."""
    if not _has(folder / SEAL_FOLDER, "*.key"):
        create_secret(folder / SEAL_FOLDER, FIRST_KEY)
    if not _has(folder / OPERATOR_FOLDER, "*.pub"):
        create_signer(folder / "private", folder / OPERATOR_FOLDER, OPERATOR)
    if not _has(folder / KEY_FOLDER, "*.key"):
        create_key(folder / KEY_FOLDER, FIRST_KEY)
    sys.stdout.write(f"keys: {folder}\n")
    for group in groups:
        ring = group_folder(folder, group)
        if not _has(ring, "*.key"):
            create_secret(ring, FIRST_KEY)
        sys.stdout.write(f"group {group}: {ring}, readable by risk alone; hand its key over\n")


def make_tables(
    settings: ServiceSettings, password_file: Path | None, passfile: Path, role: str = APP_ROLE
) -> None:
    """The audit's tables, and its role with the password of the passfile, made where missing.

    The passfile is libpq's, so that the audit's DATABASE_URL holds no password.
    """
    if not settings.database_url:
        raise SettingsError("DATABASE_URL is not set.", "Set it to the owner's URL.")
    url = settings.database_url
    if password_file is not None:
        url = with_password(url, _text_of(password_file))
    if passfile.exists():
        migrate(url, app_role=role, app_password=_text_of(passfile).rpartition(":")[2])
    else:
        password = secrets.token_urlsafe(24)
        migrate(url, app_role=role, app_password=password)
        _write(passfile, f"*:*:*:{role}:{password}\n")
    sys.stdout.write(f"tables: {role} may add and read\n")


def make_intents(password_file: Path | None, passfile: Path) -> None:
    """The tables of execution's intents, by its own command; raises IntentsNotMade."""
    command = [sys.executable, "-m", "tapeline.execution.intents", "--passfile", str(passfile)]
    if password_file is not None:
        command += ["--password-file", str(password_file)]
    if subprocess.run(command).returncode:
        raise IntentsNotMade(
            "The tables of the intents were not made.", "Do what the line above says."
        )


def with_password(url: str, password: str) -> str:
    """A database URL of a user without password, with it."""
    scheme, _, rest = url.partition("://")
    user, _, place = rest.partition("@")
    if not place or ":" in user:
        raise SettingsError(
            "DATABASE_URL names no user, or a password besides the password file's.",
            "Write postgresql://user@host:port/database.",
        )
    return f"{scheme}://{user}:{quote(password, safe='')}@{place}"


def _configuration_file(named: str) -> Path:
    """A preset by its name, or a file by its path."""
    preset = PRESETS / f"{named}.toml"
    return preset if preset.is_file() else Path(named)


def _has(folder: Path, pattern: str) -> bool:
    return folder.is_dir() and any(folder.glob(pattern))


def _text_of(path: Path) -> str:
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


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="python -m tapeline.cli.prepare",
        description="Makes Kafka and PostgreSQL ready for services in containers.",
    )
    parser.add_argument("--topics", action="store_true", help="make the topics that are missing")
    parser.add_argument("--replication", type=int, default=1, help="copies of each topic")
    parser.add_argument(
        "--configuration", metavar="NAME", help="publish a preset or a TOML file to config"
    )
    parser.add_argument("--keys", type=Path, metavar="DIR", help="make keys where there are none")
    parser.add_argument(
        "--group",
        action="append",
        default=[],
        metavar="GROUP",
        help="with --keys: also a secret for a group outside, which signs; may be repeated",
    )
    parser.add_argument(
        "--passfile",
        type=Path,
        help="make the audit's tables and role; its password is kept here, as libpq reads it",
    )
    parser.add_argument(
        "--intents-passfile",
        type=Path,
        help="the same for the intents of execution, which runs on paper do not need",
    )
    parser.add_argument(
        "--password-file", type=Path, help="password of the user in DATABASE_URL, alone"
    )
    parser.add_argument("--role", default=APP_ROLE, help="the audit's role")
    return parser


if __name__ == "__main__":
    sys.exit(main())
