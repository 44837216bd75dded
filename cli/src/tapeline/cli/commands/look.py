"""Commands that look at a run: status, topics, tail, positions, orders, pnl, trace, why, audit."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Annotated, Any

import typer
from rich.table import Table

from tapeline.cli.commands.options import AsJson, RunName, print_json, print_line
from tapeline.cli.desk import Desk, desk
from tapeline.cli.follower import Follower
from tapeline.cli.records import Found, as_plain, fields_of, short, utc
from tapeline.cli.scopes import in_force
from tapeline.cli.screen import accounts_table, console, groups_table, money
from tapeline.cli.stack.state import running_endpoints
from tapeline.cli.tally import Tally
from tapeline.contracts import topics
from tapeline.contracts.orders import ChildRole, OrderStatus, OrderUpdate
from tapeline.contracts.risk import PortfolioSnapshot
from tapeline.contracts.system import Heartbeat, Watermark
from tapeline.runtime import clock
from tapeline.runtime.exits import Failure

HEARTBEAT_AGE_S = 10.0
PROBE_S = 1.0
ENDED = (
    OrderStatus.FILLED,
    OrderStatus.CANCELED,
    OrderStatus.EXPIRED,
    OrderStatus.DENIED,
    OrderStatus.REJECTED,
)


class BadFilter(Failure):
    """A filter or a topic name is not understood."""

    exit_code = 64


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (status, show_topics, tail, positions, orders, pnl):
        name = {"show_topics": "topics"}.get(command.__name__, command.__name__)
        app.command(name)(command)


def status(run: RunName = "", as_json: AsJson = False) -> None:
    """Show the services of the running run, how far behind they are, and the trading state."""
    from tapeline.cli.home import home

    if running_endpoints(home()) is None:
        if as_json:
            print_json({"running": False})
        else:
            typer.echo("Nothing runs. Start with `tapeline demo` or `tapeline up`.")
        raise typer.Exit(3)
    with desk(run) as place:
        services = service_states(place)
        portfolios = latest_portfolios(place)
        scopes = in_force(place.records)
    states = {name: item.trading_state.value for name, item in portfolios.items()}
    if as_json:
        print_json(
            {
                "running": True,
                "run": place.run.name,
                "source": place.run.source,
                "services": services,
                "trading_state": states,
                "not_active": {one.scope: one.state.value for one in scopes},
            }
        )
        return
    table = Table("service", "live", "ready", "heartbeat", "lag", box=None, pad_edge=False)
    for item in services:
        table.add_row(*(str(item[key]) for key in ("service", "live", "ready", "heartbeat", "lag")))
    out = console()
    out.print(f"run {place.run.name}: {place.run.source}")
    out.print(table)
    out.print("trading state: " + (", ".join(f"{k} {v}" for k, v in states.items()) or "unknown"))
    for one in scopes:
        out.print(str(one))


def service_states(place: Desk) -> list[dict[str, Any]]:
    """Each service of the run: what its probes and its last heartbeats say."""
    # A group beats as group/trend, its process is named group-trend.
    beats = place.records.latest(
        topics.HEARTBEATS,
        lambda record: record.service.replace("/", "-").replace("market-data-", ""),
    )
    found = []
    for file in sorted((place.folder / "ports").glob("*")):
        if file.suffix == ".part":
            continue
        port = int(file.read_text())
        beat = beats.get(file.name)
        age_s = None
        if isinstance(beat, Heartbeat):
            age_s = (clock.wall_ns() - beat.ts_event_ns) / 1e9
        found.append(
            {
                "service": file.name,
                "live": probe(port, "livez"),
                "ready": probe(port, "readyz"),
                "heartbeat": "" if age_s is None else f"{age_s:.1f} s ago",
                "lag": "" if beat is None else beat.lag,
            }
        )
    return found


def process_of(beat: Heartbeat) -> str:
    """A group beats as group/trend; its process is named group-trend."""
    return beat.service.replace("/", "-").removeprefix("market-data-")


def probe(port: int, page: str) -> str:
    """What a probe answers, in one word or sentence."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=PROBE_S):
            return "yes"
    except urllib.error.HTTPError as error:
        return f"no ({error.read().decode(errors='replace').strip()})"
    except OSError:
        return "no answer"


def latest_portfolios(place: Desk) -> dict[str, PortfolioSnapshot]:
    """The newest snapshot of each account."""
    return place.records.latest(topics.PORTFOLIO, lambda record: record.account_id)


def show_topics(run: RunName = "", as_json: AsJson = False) -> None:
    """List the topics of a run, how many offsets each holds and who writes them.

    Offsets are records and, where transactions write, a marker each.
    """
    with desk(run) as place:
        counts = place.records.counts(list(topics.TOPICS))
    if as_json:
        print_json(counts)
        return
    table = Table("topic", "offsets", "written by", "what", box=None, pad_edge=False)
    table.columns[1].justify = "right"
    for name, count in counts.items():
        topic = topics.TOPICS[name]
        table.add_row(name, f"{count:,}", ", ".join(topic.writers), topic.doc)
    console().print(table)


def tail(
    topic: Annotated[str, typer.Argument(help="Topic, such as fills; see `tapeline topics`.")],
    where: Annotated[
        list[str] | None,
        typer.Option("--where", "-w", help="Only records with FIELD=VALUE; may be repeated."),
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", help="How many of the last.")] = 10,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more.")] = False,
    watermarks: Annotated[
        bool, typer.Option("--watermarks", help="Watermarks as well, which end slices.")
    ] = False,
    run: RunName = "",
    as_json: AsJson = False,
) -> None:
    """Print the last records of a topic, decoded."""
    if topic not in topics.TOPICS:
        raise BadFilter(
            f"There is no topic {topic}.", f"The topics are {', '.join(topics.TOPICS)}."
        )
    wanted = [parsed_filter(text) for text in where or ()]

    def is_wanted(item: Found) -> bool:
        is_hidden = isinstance(item.record, Watermark) and not watermarks
        return not is_hidden and matches(item, wanted)

    with desk(run, must_run=follow) as place:
        found = [item for item in place.records.all(topic) if is_wanted(item)]
        shown = found[-count:] if count else []
        for item in shown:
            print_record(item, as_json)
        if follow:
            _follow(place, topic, is_wanted, found, as_json)


def _follow(
    place: Desk, topic: str, is_wanted: Callable[[Found], bool], seen: list[Found], as_json: bool
) -> None:
    known = {(item.raw.partition, item.raw.offset) for item in seen}

    def show(item: Found) -> None:
        if (item.raw.partition, item.raw.offset) not in known and is_wanted(item):
            print_record(item, as_json)

    follower = Follower(place.config, place.run.prefix, show, (topic,))
    follower.start()
    try:
        follower.join()
    finally:
        follower.stop()


def parsed_filter(text: str) -> tuple[str, str]:
    """FIELD=VALUE."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise BadFilter(f"{text!r} is no filter.", "Write --where FIELD=VALUE.")
    return name, value


def matches(item: Found, wanted: Iterable[tuple[str, str]]) -> bool:
    """Whether a record has all the wanted values."""
    fields = {name: plain_text(value) for name, value in fields_of(item)}
    return all(fields.get(name) == value for name, value in wanted)


def plain_text(value: Any) -> str:
    """A field's value as a person writes it."""
    return short(value) if isinstance(value, Decimal) else str(getattr(value, "value", value))


def print_record(item: Found, as_json: bool) -> None:
    """One record: JSON, or a line for people."""
    place = {"partition": item.raw.partition, "offset": item.raw.offset}
    if as_json:
        body = as_plain(item.record) if item.record is not None else {"error": item.error}
        print_line({**place, "event_id": item.raw.header("event_id"), "record": body})
        return
    head = f"{item.raw.topic}-{item.raw.partition}@{item.raw.offset}"
    if item.record is None:
        typer.echo(f"{head}  {item.error}")
        return
    plain = as_plain(item.record)
    kind = plain.pop("type")
    moment = utc(plain.pop("ts_event_ns")) if "ts_event_ns" in plain else ""
    plain.pop("ts_init_ns", None)
    text = " ".join(
        f"{name}={json.dumps(value) if isinstance(value, dict | list) else value}"
        for name, value in plain.items()
        if value not in (None, "", [], {})
    )
    typer.echo(f"{head}  {moment}  {kind}  {text}")


def tally_of(place: Desk) -> Tally:
    """Everything a run's tally needs, read once."""
    tally = Tally()
    for name in (topics.DECISIONS, topics.APPROVED_ORDERS, topics.RISK_EVENTS):
        for item in place.records.all(name):
            tally.add(item)
    for name in (topics.ORDER_UPDATES, topics.FILLS, topics.PORTFOLIO):
        for item in place.records.all(name):
            tally.add(item)
    return tally


def positions(run: RunName = "", as_json: AsJson = False) -> None:
    """Show what each account holds, by group and instrument."""
    with desk(run) as place:
        portfolios = latest_portfolios(place)
    if as_json:
        print_json([as_plain(portfolios[name]) for name in sorted(portfolios)])
        return
    names = ("account", "group", "instrument", "quantity", "average", "mark", "unrealized P&L")
    table = Table(*names, box=None, pad_edge=False)
    for column in table.columns[3:]:
        column.justify = "right"
    for name in sorted(portfolios):
        for line in portfolios[name].positions:
            table.add_row(
                name,
                line.group_id,
                line.instrument_id,
                short(line.quantity),
                money(line.average_price),
                money(line.mark_price),
                money(line.unrealized_pnl),
            )
    console().print(table if table.row_count else "No positions.")


def orders(
    open_only: Annotated[bool, typer.Option("--open", help="Only orders that still work.")] = False,
    count: Annotated[int, typer.Option("--count", "-n", help="How many of the last.")] = 20,
    run: RunName = "",
    as_json: AsJson = False,
) -> None:
    """List orders and their slices and protective legs with their latest state."""
    with desk(run) as place:
        updates = [item.record for item in place.records.all(topics.ORDER_UPDATES, OrderUpdate)]
    found = latest_states(updates)
    if open_only:
        found = [item for item in found if item.status not in ENDED]
    if as_json:
        print_json([as_plain(item) for item in found[-count:]])
        return
    names = (
        "order",
        "part",
        "time",
        "account",
        "group",
        "instrument",
        "quantity",
        "filled",
        "state",
    )
    table = Table(*names, box=None, pad_edge=False)
    for item in found[-count:]:
        table.add_row(
            item.client_order_id,
            "" if item.role is ChildRole.WHOLE else f"{item.role.value} {item.child_index}",
            utc(item.ts_event_ns)[:19],
            item.account_id,
            item.group_id,
            item.instrument_id,
            short(item.quantity),
            short(item.filled_quantity),
            item.status.value + (f" {item.code}" if item.code else ""),
        )
    console().print(table if found else "No orders.")


def latest_states(updates: Iterable[OrderUpdate]) -> list[OrderUpdate]:
    """The last update of each order under its own approval: answers to cancels and amendments speak
    of the order too, but of another approval."""
    own: dict[str, str] = {}
    latest: dict[str, OrderUpdate] = {}
    for update in updates:
        if own.setdefault(update.client_order_id, update.approval_id) == update.approval_id:
            latest[update.client_order_id] = update
    return list(latest.values())


def pnl(run: RunName = "", as_json: AsJson = False) -> None:
    """Show profit, fees and NAV by group and account."""
    with desk(run) as place:
        tally = tally_of(place)
    if as_json:
        print_json(
            {
                name: {
                    "realized_pnl": short(tally.profit(name)[0]),
                    "unrealized_pnl": short(tally.profit(name)[1]),
                    "commission": short(group.commission),
                    "currency": group.currency,
                    "fills": group.fills,
                }
                for name, group in sorted(tally.groups.items())
            }
        )
        return
    out = console()
    out.print(groups_table(tally))
    out.print()
    out.print(accounts_table(tally))
