"""Tables, views and roles."""

from __future__ import annotations

import stat
from pathlib import Path

import psycopg
import pytest
from audit_samples import RUN_ID, Database, Writer, decisions, plain
from sqlalchemy import make_url

from tapeline.audit.errors import DatabaseAway
from tapeline.audit.keys import ChainKeys
from tapeline.audit.migrate import delete_run, migrate, migrate_with_file
from tapeline.audit.verify import verify

pytestmark = pytest.mark.postgres
CHANGES = [
    "UPDATE audit.{table} SET head = head",
    "DELETE FROM audit.{table}",
    "TRUNCATE audit.{table}",
]


def code_of(url: str, statement: str) -> str | None:
    """SQLSTATE of the refusal of a statement."""
    with psycopg.connect(plain(url), autocommit=True) as connection:
        try:
            connection.execute(statement)
        except psycopg.Error as error:
            return error.sqlstate
    return None


def test_neither_the_service_nor_a_slip_of_the_owner_changes_anything(
    writer: Writer, database: Database
) -> None:
    writer.write(decisions(2))
    changes = [
        change.format(table=table) for change in CHANGES for table in ("audit_row", "audit_range")
    ]
    for url in (database.app_url, database.admin_url):
        assert {change: code_of(url, change) for change in changes} == dict.fromkeys(
            changes, "42501"
        )


def test_the_service_is_refused_by_its_rights_and_not_by_the_trigger_alone(
    database: Database,
) -> None:
    with database.admin() as superuser:
        for table in ("audit_row", "audit_range"):
            superuser.execute(f"ALTER TABLE audit.{table} DISABLE TRIGGER append_only")
    for change in CHANGES:
        for table in ("audit_row", "audit_range"):
            assert code_of(database.app_url, change.format(table=table)) == "42501"
            assert code_of(database.admin_url, change.format(table=table)) is None


def test_the_service_may_not_change_the_rules(database: Database) -> None:
    changes = (
        "ALTER TABLE audit.audit_row DISABLE TRIGGER append_only",
        "DROP TABLE audit.audit_row CASCADE",
        "CREATE TABLE audit.other (a int)",
        "SET session_replication_role = replica",
        "CREATE OR REPLACE VIEW audit.fills AS SELECT 1",
    )
    for change in changes:
        assert code_of(database.app_url, change) == "42501", change


def test_migrating_twice_changes_nothing_but_the_password(
    writer: Writer, database: Database, keys: ChainKeys
) -> None:
    writer.write(decisions(3))
    kept = make_url(database.app_url).password
    changed = migrate(database.admin_url, app_role=database.role, app_password="fixed")
    url = migrate(database.admin_url, app_role=database.role, app_password=kept)
    assert make_url(changed).password == "fixed"
    assert verify(url, RUN_ID, keys, writer.anchors()).row_count == 3


def test_the_password_is_kept_in_a_private_file(empty_database: str, tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "audit.password"
    role = f"{make_url(empty_database).database}_role"
    first = migrate_with_file(empty_database, path, app_role=role)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert migrate_with_file(empty_database, path, app_role=role) == first
    with psycopg.connect(plain(first)) as connection:
        connection.execute("SELECT 1")
    with psycopg.connect(plain(empty_database), autocommit=True) as connection:
        connection.execute(f"DROP OWNED BY {role}")
        connection.execute(f"DROP ROLE {role}")


def test_every_view_can_be_read_by_the_service(writer: Writer, database: Database) -> None:
    writer.write(decisions(3))
    with database.app() as connection:
        names = connection.execute(
            "SELECT table_name FROM information_schema.views WHERE table_schema = 'audit'"
        ).fetchall()
        counts = {
            name: connection.execute(f"SELECT count(*) FROM audit.{name}").fetchone()
            for (name,) in names
        }
    assert len(counts) == 13
    assert counts["decisions"] == (3,)


def test_a_run_that_was_deleted_is_reported_against_its_anchors(
    writer: Writer, database: Database, keys: ChainKeys
) -> None:
    writer.write(decisions(3))
    assert delete_run(database.admin_url, RUN_ID) == 3
    report = verify(database.app_url, RUN_ID, keys, writer.anchors())
    assert [finding.code for finding in report.findings] == ["TAIL_MISSING"]


def test_a_database_that_does_not_answer_is_named_without_its_password() -> None:
    with pytest.raises(DatabaseAway, match=r"127\.0\.0\.1:1 ") as caught:
        migrate("postgresql://someone:secret@127.0.0.1:1/nowhere")
    assert "secret" not in str(caught.value)
