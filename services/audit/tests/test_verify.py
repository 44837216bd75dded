"""Tampering as a superuser, for real, with triggers off: every operation is found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import psycopg
import pytest
from audit_samples import (
    KEY,
    RUN_ID,
    Database,
    Writer,
    decisions,
    message,
    trade,
    watermark,
)

from tapeline.audit.anchors import Anchors
from tapeline.audit.chain import ChainKey, Record
from tapeline.audit.core import ROW_COLUMNS
from tapeline.audit.keys import ChainKeys
from tapeline.audit.store import Store
from tapeline.audit.verify import Report, verify

pytestmark = pytest.mark.postgres
OPERATIONS = 300
ROWS = 40
"""of each of two partitions"""
EDITS = {
    "body": "jsonb_set(body, '{reason}', '\"another\"')",
    "value": "set_byte(value, 20, get_byte(value, 20) # 1)",
    "headers": "set_byte(headers, octet_length(headers) - 1, 65)",
    "key": "'someone'::bytea",
    "event_id": "event_id || 'x'",
    "decision_id": "NULL",
    "client_order_id": "'order-9'",
    "causation_id": "'cause'",
    "correlation_id": "''",
    "producer": "'risk/0'",
    "record_type": "'undecodable'",
    "is_duplicate": "NOT is_duplicate",
    "append_ms": "append_ms + 1",
    "chain_index": "chain_index + 1000",
    "key_id": "'2027'",
    "head": "set_byte(head, 5, get_byte(head, 5) # 1)",
    "previous_head": "set_byte(previous_head, 5, get_byte(previous_head, 5) # 1)",
    "kafka_offset": "kafka_offset + 1000",
    "topic": "'fills'",
    "run_id": "'run-2'",
}
HERE = "run_id = 'run-1' AND topic = 'decisions' AND partition = %s AND kafka_offset = %s"


@dataclass
class Victim:
    """A written database, a superuser on it, and the way back."""

    database: Database
    anchors: Anchors
    keys: ChainKeys
    superuser: psycopg.Connection[Any]

    def do(self, statement: str, *values: Any) -> int:
        """Runs a statement as superuser; returns the rows it touched."""
        return self.superuser.execute(statement, values).rowcount

    def report(self) -> Report:
        """What verification says now."""
        return verify(self.database.app_url, RUN_ID, self.keys, self.anchors)

    def restore(self) -> None:
        """Everything as it was written."""
        for table in ("audit_row", "audit_range"):
            self.do(f"DELETE FROM audit.{table}")
            self.do(f"INSERT INTO audit.{table} SELECT * FROM pristine.{table}")


@pytest.fixture
def victim(writer: Writer, database: Database, keys: ChainKeys) -> Iterator[Victim]:
    writer.write(decisions(ROWS) + decisions(ROWS, partition=1))
    ticks = [message("ticks", 0, offset, trade(offset)) for offset in range(5)]
    finals = [message("ticks", 0, offset, watermark(True)) for offset in range(5, 10)]
    writer.write(ticks + finals)
    with database.admin() as superuser:
        superuser.execute("SET session_replication_role = replica")
        superuser.execute("CREATE SCHEMA pristine")
        for table in ("audit_row", "audit_range"):
            superuser.execute(f"CREATE TABLE pristine.{table} AS SELECT * FROM audit.{table}")
        yield Victim(database, writer.anchors(), keys, superuser)


def test_an_untouched_database_is_intact(victim: Victim) -> None:
    report = victim.report()
    assert report.is_intact
    assert (report.row_count, report.range_count, report.chain_count) == (2 * ROWS, 5, 3)
    assert report.first_bad is None


def test_an_edit_of_any_column_names_the_row(victim: Victim) -> None:
    # What is moved away is missed where it was, so the next row is named.
    moved = {"run_id", "topic", "kafka_offset"}
    first_bad = {}
    for column, value in EDITS.items():
        assert victim.do(f"UPDATE audit.audit_row SET {column} = {value} WHERE {HERE}", 0, 17)
        finding = victim.report().first_bad
        first_bad[column] = finding.offset if finding else None
        victim.restore()
    assert first_bad == {column: 18 if column in moved else 17 for column in EDITS}


def test_a_removed_row_is_named_by_the_gap(victim: Victim) -> None:
    victim.do(f"DELETE FROM audit.audit_row WHERE {HERE}", 0, 17)
    [finding] = victim.report().findings
    assert (finding.code, finding.topic, finding.partition) == ("ROWS_MISSING", "decisions", 0)
    assert finding.offset == 18
    assert "between offsets 16 and 18" in finding.reason


def test_a_removed_first_row_is_found(victim: Victim) -> None:
    victim.do(f"DELETE FROM audit.audit_row WHERE {HERE}", 0, 0)
    [finding] = victim.report().findings
    assert (finding.code, finding.offset) == ("ROWS_MISSING", 1)


def test_two_rows_that_change_places_are_both_named(victim: Victim) -> None:
    swap(victim, 0, 3, 8)
    assert [f.offset for f in victim.report().findings if f.code == "ROW_EDITED"] == [3, 8]


def test_a_true_link_of_another_history_is_named(victim: Victim) -> None:
    """Written under the key, at the same place, but behind other rows: an old backup, mixed in."""
    other = Writer().chain(decisions(ROWS, first_id=500)).rows[17]
    values = {name: getattr(other, name) for name in ROW_COLUMNS}
    victim.do(f"DELETE FROM audit.audit_row WHERE {HERE}", 0, 17)
    columns, marks = ", ".join(ROW_COLUMNS), ", ".join(["%s"] * len(ROW_COLUMNS))
    victim.do(f"INSERT INTO audit.audit_row ({columns}) VALUES ({marks})", *values.values())
    found = [(finding.code, finding.offset) for finding in victim.report().findings]
    assert found == [("CHAIN_BROKEN", 17), ("CHAIN_BROKEN", 18)]


def test_a_forged_row_is_named(victim: Victim) -> None:
    forge(victim, 0)
    found = victim.report().findings
    assert (found[0].code, found[0].offset) == ("ROW_EDITED", ROWS)


def test_a_cut_tail_is_found_by_the_anchors(victim: Victim) -> None:
    victim.do("DELETE FROM audit.audit_row WHERE partition = 1 AND kafka_offset >= 30")
    [finding] = victim.report().findings
    assert (finding.code, finding.partition, finding.offset) == ("TAIL_MISSING", 1, 30)


def test_a_whole_chain_that_is_gone_is_found_by_the_anchors(victim: Victim) -> None:
    victim.do("DELETE FROM audit.audit_row WHERE partition = 1")
    [finding] = victim.report().findings
    assert (finding.code, finding.partition, finding.offset) == ("TAIL_MISSING", 1, 0)


def test_ranges_are_protected_as_rows_are(victim: Victim) -> None:
    changes = (
        "UPDATE audit.audit_range SET digest = set_byte(digest, 0, get_byte(digest, 0) # 1)",
        "UPDATE audit.audit_range SET record_count = record_count + 1",
        "UPDATE audit.audit_range SET next_offset = next_offset + 1",
        "DELETE FROM audit.audit_range WHERE first_offset = 6",
        "DELETE FROM audit.audit_range WHERE first_offset = 9",
    )
    for change in changes:
        victim.do(change)
        assert {finding.topic for finding in victim.report().findings} == {"ticks"}, change
        victim.restore()


def test_an_old_backup_is_found_by_the_anchors(victim: Victim, writer: Writer) -> None:
    """The copy was a consistent database once; only what is kept outside knows better."""
    writer.write(decisions(5, start=ROWS))
    newer = replace(victim, anchors=writer.anchors())
    assert newer.report().is_intact
    newer.restore()
    [finding] = newer.report().findings
    assert (finding.code, finding.offset) == ("TAIL_MISSING", ROWS)


def test_a_full_rewrite_with_the_stolen_key_is_found_by_the_anchors(victim: Victim) -> None:
    records = [
        replace(record, value=decisions(1, first_id=99)[0].value) if record.offset == 5 else record
        for record in decisions(ROWS)
    ]
    rewrite(victim, records, KEY)
    [finding] = victim.report().findings
    assert (finding.code, finding.offset) == ("HEAD_MISMATCH", ROWS - 1)


def test_a_full_rewrite_without_the_key_is_found_without_anchors(victim: Victim) -> None:
    rewrite(victim, decisions(ROWS), ChainKey(key_id=KEY.key_id, secret=bytes(32)))
    report = verify(victim.database.app_url, RUN_ID, victim.keys, Anchors())
    assert report.finding_count >= ROWS
    assert report.first_bad is not None
    assert report.first_bad.offset == 0


def test_damaged_lines_of_the_anchor_file_are_reported(victim: Victim) -> None:
    anchors = replace(victim.anchors, damaged_lines=(3,))
    report = verify(victim.database.app_url, RUN_ID, victim.keys, anchors)
    assert [finding.code for finding in report.findings] == ["ANCHORS_DAMAGED"]


def test_records_behind_the_chains_are_pending_and_no_fault(victim: Victim) -> None:
    ends = {("decisions", 0): ROWS, ("decisions", 1): ROWS + 2, ("ticks", 0): 17, ("fills", 0): 0}
    report = verify(victim.database.app_url, RUN_ID, victim.keys, victim.anchors, ends=ends)
    assert report.is_intact
    assert report.pending == {("decisions", 1): 2, ("ticks", 0): 7}


def test_ranges_are_compared_with_what_kafka_holds(victim: Victim) -> None:
    kept = [message("ticks", 0, offset, trade(offset)) for offset in range(5)]
    kept += [message("ticks", 0, offset, watermark(True)) for offset in range(5, 10)]

    def mismatches(records: list[Record]) -> int:
        def read(topic: str, partition: int, start: int, behind: int) -> list[Record]:
            place = (topic, partition)
            return [r for r in records if r.place == place and start <= r.offset < behind]

        report = verify(
            victim.database.app_url, RUN_ID, victim.keys, victim.anchors, read_range=read
        )
        return sum(finding.code == "RANGE_MISMATCH" for finding in report.findings)

    assert mismatches(kept) == 0
    assert mismatches([replace(kept[0], key=b"other"), *kept[1:]]) == 1
    # What retention or compaction has taken is no fault.
    assert mismatches(kept[3:]) == 0


def test_a_new_key_continues_the_chain_and_both_verify(writer: Writer, database: Database) -> None:
    writer.write(decisions(3))
    new = ChainKey(key_id="2026-02", secret=bytes(range(1, 33)))
    continued = Writer(writer.store, key=new, ledger=writer.ledger)
    continued.write(decisions(3, start=3))
    both = ChainKeys(current=new, known={KEY.key_id: KEY, new.key_id: new})
    assert verify(database.app_url, RUN_ID, both, continued.anchors()).is_intact
    alone = ChainKeys(current=new, known={new.key_id: new})
    report = verify(database.app_url, RUN_ID, alone, continued.anchors())
    assert {finding.code for finding in report.findings} == {"KEY_UNKNOWN"}


def swap(victim: Victim, partition: int, one: int, other: int) -> None:
    """Two rows change their offsets."""
    move = f"UPDATE audit.audit_row SET kafka_offset = %s WHERE {HERE}"
    victim.do(move, -1, partition, one)
    victim.do(move, one, partition, other)
    victim.do(move, other, partition, -1)


def forge(victim: Victim, partition: int) -> None:
    """A row behind the last, made of a real one, with a head that looks right."""
    victim.do(
        """INSERT INTO audit.audit_row
        SELECT (jsonb_populate_record(r, jsonb_build_object(
            'kafka_offset', kafka_offset + 1, 'chain_index', chain_index + 1,
            'previous_head', r.head))).*
        FROM audit.audit_row r WHERE topic = 'decisions' AND partition = %s
        ORDER BY kafka_offset DESC LIMIT 1""",
        partition,
    )


def rewrite(victim: Victim, records: list[Record], key: ChainKey) -> None:
    """The chain of a partition, written anew from other records."""
    victim.do("DELETE FROM audit.audit_row WHERE topic = 'decisions' AND partition = 0")
    store = Store(victim.database.admin_url, "somebody")
    Writer(store, key=key).write(records)
    store.close()


def random_operation(rng: np.random.Generator, victim: Victim) -> str:
    """One way to tamper, carried out; returns what was done."""
    partition, offset = int(rng.integers(2)), int(rng.integers(ROWS))
    other = (offset + 1 + int(rng.integers(ROWS - 1))) % ROWS
    at = f"{partition}/{offset}"

    def edit() -> str:
        # An edit that leaves a value as it was is none.
        columns = sorted(EDITS.keys() - {"client_order_id", "correlation_id"})
        column = columns[int(rng.integers(len(columns)))]
        victim.do(
            f"UPDATE audit.audit_row SET {column} = {EDITS[column]} WHERE {HERE}", partition, offset
        )
        return f"edit {column} at {at}"

    def flip() -> str:
        column = ("value", "head", "previous_head", "headers", "key")[int(rng.integers(5))]
        bit = int(rng.integers(8))
        victim.do(
            f"UPDATE audit.audit_row SET {column} = set_byte({column}, %s % octet_length({column}),"
            f" get_byte({column}, %s % octet_length({column})) # {1 << bit}) WHERE {HERE}".replace(
                "% octet", "%% octet"
            ),
            other,
            other,
            partition,
            offset,
        )
        return f"flip a bit of {column} at {at}"

    def remove() -> str:
        victim.do(f"DELETE FROM audit.audit_row WHERE {HERE}", partition, offset)
        return f"remove {at}"

    def exchange() -> str:
        swap(victim, partition, offset, other)
        return f"swap {at} and {other}"

    def insert() -> str:
        forge(victim, partition)
        return f"forge behind {partition}"

    def cut() -> str:
        victim.do(
            "DELETE FROM audit.audit_row WHERE partition = %s AND kafka_offset >= %s",
            partition,
            offset,
        )
        return f"cut from {at}"

    def move() -> str:
        victim.do(f"UPDATE audit.audit_row SET partition = 7 WHERE {HERE}", partition, offset)
        return f"move {at} to another partition"

    ways: list[Callable[[], str]] = [edit, flip, remove, exchange, insert, cut, move]
    return ways[int(rng.integers(len(ways)))]()


def test_random_operations_are_all_found(victim: Victim) -> None:
    seed = 20_260_101
    rng = np.random.default_rng(seed)
    missed = []
    for number in range(OPERATIONS):
        what = random_operation(rng, victim)
        if victim.report().is_intact:
            missed.append((number, what))
        victim.restore()
    assert missed == [], f"seed {seed}"
    assert victim.report().is_intact
