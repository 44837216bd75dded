"""The store: one transaction a batch, exactly once, whatever happens to the connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import psycopg
import pytest
from audit_samples import RUN_ID, Database, Writer, decisions, message, trade, watermark
from sqlalchemy import make_url
from tcp_proxy import Cut, TcpProxy

from tapeline.audit.core import Batch
from tapeline.audit.errors import ChainConflict, DatabaseAway, DatabaseUnfit
from tapeline.audit.keys import ChainKeys
from tapeline.audit.store import Store
from tapeline.audit.verify import verify

pytestmark = pytest.mark.postgres
PLACE = ("decisions", 0)


def patient(outages: list[str]) -> Callable[[str, float], None]:
    """Notes an outage and goes on at once."""
    return lambda reason, _pause_s: outages.append(reason)


def count_of(database: Database) -> int:
    """Rows in the database."""
    with database.admin() as connection:
        [count] = connection.execute("SELECT count(*) FROM audit.audit_row").fetchone() or (0,)
    return int(count)


@pytest.fixture
def proxy(database: Database) -> Iterator[TcpProxy]:
    """Stands before the test's database."""
    url = make_url(database.app_url)
    assert url.host is not None
    with TcpProxy(url.host, url.port or 5432) as proxy:
        yield proxy


@pytest.fixture
def proxied(database: Database, proxy: TcpProxy) -> Iterator[Writer]:
    """A writer whose connection goes through the proxy."""
    url = make_url(database.app_url).set(host="127.0.0.1", port=proxy.port)
    store = Store(url.render_as_string(hide_password=False), RUN_ID)
    yield Writer(store)
    store.close()


def test_a_server_that_says_nothing_is_away(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, outages, waits = writer.store, list[str](), iter((3, 0))
    assert store is not None
    monkeypatch.setattr("tapeline.audit.store.SILENT_S", 0.5)

    def attempt() -> str:
        with store._open().begin():
            store._driver().execute("SELECT pg_sleep(%s)", (next(waits),))
        return "answered"

    assert store.persist(attempt, patient(outages)) == "answered"
    assert outages[0] == "the connection is lost"


def test_the_tips_are_where_the_rows_end(writer: Writer, database: Database) -> None:
    writer.write(decisions(5))
    writer.write([message("ticks", 2, 0, trade(0)), message("ticks", 2, 1, watermark(True))])
    assert writer.store is not None
    found = writer.store.tips([PLACE, ("ticks", 2), ("fills", 0)])
    assert found == writer.ledger.tips
    assert found[PLACE].next_offset == 5


def test_a_batch_is_stored_whole_or_not_at_all(writer: Writer, database: Database) -> None:
    batch = writer.chain(decisions(3))
    broken = replace(batch, rows=(*batch.rows[:2], replace(batch.rows[2], head=b"short")))
    assert writer.store is not None
    with pytest.raises(psycopg.errors.CheckViolation):
        writer.store.append(broken)
    writer.store.close()
    assert count_of(database) == 0


def test_ids_that_have_a_row_are_found_by_partition(writer: Writer) -> None:
    writer.write(decisions(3))
    assert writer.store is not None
    names = {(*PLACE, "decision-1"), ("decisions", 1, "decision-1"), (*PLACE, "decision-7")}
    assert writer.store.seen(names) == {(*PLACE, "decision-1")}


def test_a_duplicate_of_an_earlier_batch_is_marked(writer: Writer) -> None:
    writer.write(decisions(3))
    batch = writer.write(decisions(2, start=3, first_id=2))
    assert [row.is_duplicate for row in batch.rows] == [True, False]


@pytest.mark.parametrize("cut", [Cut.BEFORE, Cut.AFTER])
def test_a_commit_of_unknown_outcome_is_stored_once(
    cut: Cut, proxied: Writer, proxy: TcpProxy, database: Database, keys: ChainKeys
) -> None:
    assert proxied.store is not None
    proxied.store.append_surely(proxied.chain(decisions(3)), patient([]))
    batch = proxied.chain(decisions(4, start=3))
    outages: list[str] = []
    proxy.cut_next_commit(cut)
    proxied.store.append_surely(batch, patient(outages))
    assert outages
    assert proxy.was_cut.is_set()
    assert count_of(database) == 7
    assert verify(database.app_url, RUN_ID, keys, proxied.anchors()).is_intact


def test_a_database_that_is_away_is_waited_for(
    proxied: Writer, proxy: TcpProxy, database: Database
) -> None:
    assert proxied.store is not None
    proxied.store.append_surely(proxied.chain(decisions(3)), patient([]))
    batch = proxied.chain(decisions(3, start=3))
    proxy.go_down()
    pauses: list[float] = []

    def on_outage(_reason: str, pause_s: float) -> None:
        pauses.append(pause_s)
        if len(pauses) == 4:
            proxy.come_back()

    proxied.store.append_surely(batch, on_outage)
    assert pauses == sorted(pauses)
    assert len(pauses) >= 4
    assert count_of(database) == 6


def test_who_gives_up_says_why(proxied: Writer, proxy: TcpProxy) -> None:
    proxy.go_down()

    def give_up(reason: str, _pause_s: float) -> None:
        raise DatabaseAway(reason, "Start it.")

    assert proxied.store is not None
    with pytest.raises(DatabaseAway):
        proxied.store.persist(partial(proxied.store.tips, [PLACE]), give_up)


def test_a_database_that_became_read_only_is_waited_for(writer: Writer, database: Database) -> None:
    name = make_url(database.admin_url).database
    setting = f"ALTER DATABASE {name} SET default_transaction_read_only"

    def fail_back(_reason: str, _pause_s: float) -> None:
        with database.admin() as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(f"{setting} = off")

    with database.admin() as connection:
        connection.execute(f"{setting} = on")
    assert writer.store is not None
    writer.store.append_surely(writer.chain(decisions(3)), fail_back)
    assert count_of(database) == 3


def test_a_second_writer_of_the_run_has_to_wait(writer: Writer, database: Database) -> None:
    writer.write(decisions(1))
    second = Store(database.app_url, RUN_ID)
    with pytest.raises(DatabaseAway, match="Another audit"):
        second.tips([PLACE])
    assert writer.store is not None
    writer.store.close()
    outages: list[str] = []
    second.persist(lambda: second.tips([PLACE]), patient(outages))
    second.close()


def test_rows_that_somebody_else_wrote_are_a_conflict(writer: Writer) -> None:
    writer.write(decisions(3))
    other = Writer(writer.store)
    batch = other.chain(decisions(2))
    assert writer.store is not None
    with pytest.raises(ChainConflict):
        writer.store.append_surely(batch, patient([]))


def test_after_an_outage_chains_that_moved_meanwhile_are_a_conflict(
    proxied: Writer, proxy: TcpProxy, database: Database
) -> None:
    assert proxied.store is not None
    proxied.store.append_surely(proxied.chain(decisions(3)), patient([]))
    batch = proxied.chain(decisions(3, start=3))

    def somebody_writes(_reason: str, _pause_s: float) -> None:
        store = Store(database.app_url, RUN_ID)
        other = Writer(store)
        other.chain(decisions(3))
        store.persist(lambda: store.append(other.chain(decisions(1, start=3))), patient([]))
        store.close()

    proxy.cut_next_commit(Cut.BEFORE)
    with pytest.raises(ChainConflict):
        proxied.store.append_surely(batch, somebody_writes)


def test_a_wrong_password_is_refused_at_once(database: Database) -> None:
    url = make_url(database.app_url).set(password="wrong").render_as_string(hide_password=False)
    store = Store(url, RUN_ID)
    with pytest.raises(DatabaseUnfit) as caught:
        store.persist(lambda: store.tips([PLACE]), patient([]))
    assert "wrong" not in str(caught.value)


def test_a_database_without_tables_is_refused_with_the_remedy(empty_database: str) -> None:
    store = Store(empty_database, RUN_ID)
    with pytest.raises(DatabaseUnfit, match="Migrate"):
        store.persist(lambda: store.tips([PLACE]), patient([]))
    store.close()


def test_an_empty_batch_moves_nothing(writer: Writer) -> None:
    assert writer.store is not None
    writer.store.append(Batch(rows=(), ranges=(), before={}, after={}))
    assert writer.store.tips([PLACE]) == {}
