"""The adapter to the adverse venue: what an adapter to a real one looks like."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import aiohttp

from tapeline.accounting.numbers import fixed
from tapeline.contracts.orders import (
    LiquiditySide,
    Order,
    ReportKind,
    ReportNotice,
    Side,
    TradeBust,
    VenueBalance,
    VenueCommand,
    VenueEntry,
    VenueReport,
)
from tapeline.execution.venues.interface import (
    AdapterContext,
    HeldPosition,
    OpenOrder,
    VenueThrottled,
    VenueUnavailable,
)
from tapeline.execution.venues.order_view import order_of
from tapeline.runtime.ids import derive_id

TIMEOUT_S = 1.0
STATES = {
    "OPEN": ReportKind.ACCEPTED,
    "CANCELED": ReportKind.CANCELED,
    "REJECTED": ReportKind.REJECTED,
}


def _terms(order: Order) -> dict[str, Any]:
    """What an amendment may change."""
    prices = {"limit_price": order.limit_price, "stop_price": order.stop_price}
    shown = {name: None if price is None else str(price) for name, price in prices.items()}
    return {"quantity": str(order.quantity), **shown}


class AdverseAdapter:
    """One venue; the address may say ?timeout_s=0.2."""

    def __init__(self, context: AdapterContext) -> None:
        self._context = context
        address, _, timeout = context.venue.address.partition("?timeout_s=")
        self._address = address
        self._timeout = aiohttp.ClientTimeout(total=float(timeout or TIMEOUT_S))
        self._session: aiohttp.ClientSession | None = None

    # ---- commands

    async def submit(self, command: VenueCommand) -> Sequence[VenueReport]:
        """Sends an order, once."""
        order = order_of(command)
        body = {
            "client_order_id": command.client_order_id,
            "account": order.account_id,
            "instrument": order.instrument_id,
            "side": order.side.value,
            **_terms(order),
            "time_in_force": order.time_in_force.value,
            "is_post_only": order.is_post_only,
            "time_ns": command.ts_event_ns,
        }
        try:
            status, answer = await self._ask("POST", "/orders", json=body)
        except aiohttp.ClientConnectorError as error:
            raise VenueUnavailable(f"no connection: {error}") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            return [self._silent(command, f"{type(error).__name__}")]
        if status == 400 and answer is not None and answer.get("code") == "REFUSED":
            return [self._plain(command, ReportKind.REJECTED, answer["error"])]
        if status != 200 or answer is None or "venue_order_id" not in answer:
            return [self._silent(command, f"status {status} without an order in it")]
        return self._order(command.approved.order.account_id, answer)

    async def cancel(self, command: VenueCommand) -> Sequence[VenueReport]:
        """Asks for a cancel."""
        path = f"/orders/{command.client_order_id}"
        try:
            status, answer = await self._ask("DELETE", path, params=self._of(command))
        except aiohttp.ClientConnectorError as error:
            raise VenueUnavailable(f"no connection: {error}") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            return [self._silent(command, f"{type(error).__name__}")]
        if status != 200 or answer is None or "canceled" not in answer:
            return [self._silent(command, f"status {status}")]
        if not answer["canceled"]:
            return [self._plain(command, ReportKind.CANCEL_REJECTED, "the order is not open")]
        return self._state(command.approved.order.account_id, answer["order"])

    async def amend(self, command: VenueCommand) -> Sequence[VenueReport]:
        """Asks for new terms."""
        path = f"/orders/{command.client_order_id}"
        body = _terms(order_of(command))
        try:
            status, answer = await self._ask("PATCH", path, params=self._of(command), json=body)
        except aiohttp.ClientConnectorError as error:
            raise VenueUnavailable(f"no connection: {error}") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            return [self._silent(command, f"{type(error).__name__}")]
        if status != 200 or answer is None or "amended" not in answer:
            return [self._silent(command, f"status {status}")]
        done = answer["amended"]
        notice = ReportNotice.AMENDED if done else ReportNotice.AMEND_REJECTED
        report = self._plain(command, ReportKind.ACCEPTED, "")
        return [replace(report, notice=notice)]

    async def query(self, command: VenueCommand) -> Sequence[VenueReport]:
        """What the venue knows of an order."""
        path = f"/orders/{command.client_order_id}"
        status, answer = await self._read(path, self._of(command))
        if status == 404 and answer is not None and answer.get("code") == "NOT_FOUND":
            return [self._plain(command, ReportKind.NOT_FOUND, answer["error"])]
        if status != 200 or answer is None:
            raise VenueUnavailable(f"status {status}")
        return self._order(command.approved.order.account_id, answer)

    # ---- polls

    async def poll_fills(self, account_id: str, since_ns: int) -> Sequence[VenueReport | TradeBust]:
        """Fills and busts since then."""
        listed = await self._list("/fills", account_id, since_ns=str(since_ns))
        return [self._traded(account_id, one) for one in listed]

    async def poll_orders(self, account_id: str) -> Sequence[OpenOrder]:
        """Open orders."""
        return [
            OpenOrder(
                client_order_id=one["client_order_id"],
                venue_order_id=one["venue_order_id"],
                account_id=account_id,
                instrument_id=one["instrument"],
                side=Side(one["side"]),
                quantity=fixed(Decimal(one["quantity"])),
                filled_quantity=fixed(Decimal(one["filled"])),
                limit_price=None
                if one["limit_price"] is None
                else fixed(Decimal(one["limit_price"])),
            )
            for one in await self._list("/orders", account_id)
        ]

    async def poll_positions(self, account_id: str) -> Sequence[HeldPosition]:
        """Positions that are not zero."""
        return [
            HeldPosition(
                account_id=account_id,
                instrument_id=one["instrument"],
                quantity=fixed(Decimal(one["quantity"])),
                price=fixed(Decimal(one["price"])) or None,
            )
            for one in await self._list("/positions", account_id)
        ]

    async def poll_balances(self, account_id: str) -> Sequence[VenueBalance]:
        """Cash."""
        return [
            VenueBalance(currency=one["currency"], amount=fixed(Decimal(one["amount"])))
            for one in await self._list("/balances", account_id)
        ]

    async def poll_entries(self, account_id: str, since_ns: int) -> Sequence[VenueEntry]:
        """Cash moved by other than fills."""
        return [
            VenueEntry(
                entry_id=one["entry_id"],
                kind=one["kind"],
                instrument_id="",
                currency=one["currency"],
                amount=fixed(Decimal(one["amount"])),
                ts_event_ns=one["time_ns"],
            )
            for one in await self._list("/entries", account_id, since_ns=str(since_ns))
        ]

    # ---- stream

    async def stream(self, account_id: str) -> AsyncIterator[VenueReport | TradeBust]:
        """Reports as they come."""
        params = {"account": account_id}
        timeout = aiohttp.ClientTimeout(total=None, sock_read=5.0)
        async with self._http().get(
            f"{self._address}/stream", params=params, timeout=timeout
        ) as response:
            async for line in response.content:
                event = json.loads(line)
                if event["type"] == "order":
                    for report in self._state(account_id, event):
                        yield report
                elif event["type"] != "heartbeat":
                    yield self._traded(account_id, event)

    async def close(self) -> None:
        """Ends the session."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # ---- requests

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout)
        return self._session

    async def _ask(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """Status and JSON, None where the body is something else; raises VenueThrottled."""
        async with self._http().request(method, self._address + path, **options) as response:
            if response.status in (418, 429):
                wait_s = float(response.headers.get("Retry-After", "60"))
                raise VenueThrottled(f"status {response.status}", wait_s)
            text = await response.text()
            try:
                return response.status, json.loads(text)
            except ValueError:
                return response.status, None

    async def _read(self, path: str, params: dict[str, str]) -> tuple[int, Any]:
        try:
            return await self._ask("GET", path, params=params)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise VenueUnavailable(f"{type(error).__name__}: {error}") from error

    async def _list(self, path: str, account_id: str, **params: str) -> list[dict[str, Any]]:
        status, answer = await self._read(path, {"account": account_id, **params})
        if status != 200 or not isinstance(answer, list):
            raise VenueUnavailable(f"status {status} for {path}")
        return answer

    @staticmethod
    def _of(command: VenueCommand) -> dict[str, str]:
        return {"account": command.approved.order.account_id}

    # ---- reports

    def _order(self, account_id: str, answer: dict[str, Any]) -> list[VenueReport]:
        """An order as it stands, its fills in front of its end."""
        accepted = self._state(account_id, {**answer, "status": "OPEN"})
        fills = [self._fill(account_id, one) for one in answer["fills"]]
        if answer["status"] == "REJECTED":
            return self._state(account_id, answer)
        return [*accepted, *fills, *self._state(account_id, answer, is_end=True)]

    def _state(
        self, account_id: str, shown: dict[str, Any], *, is_end: bool = False
    ) -> list[VenueReport]:
        kind = STATES.get(shown["status"])
        if kind is None or (is_end and kind is ReportKind.ACCEPTED):
            return []
        return [
            self._report(
                account_id,
                kind,
                shown["client_order_id"],
                venue_order_id=shown["venue_order_id"],
                reason=shown["reason"],
                cause=shown["venue_order_id"],
                ts_event_ns=shown["time_ns"],
            )
        ]

    def _traded(self, account_id: str, shown: dict[str, Any]) -> VenueReport | TradeBust:
        if shown["type"] == "fill":
            return self._fill(account_id, shown)
        return TradeBust(
            report_id=self._derived(shown["trade_id"], "TradeBust"),
            account_id=account_id,
            venue=self._context.venue.venue,
            client_order_id=shown["client_order_id"],
            trade_id=shown["trade_id"],
            price=fixed(Decimal(shown["price"])),
            quantity=fixed(Decimal(shown["quantity"])),
            commission=fixed(Decimal(shown["fee"])),
            currency=shown["currency"],
            reason="busted",
            ts_event_ns=shown["time_ns"],
            ts_init_ns=self._context.now_ns(),
        )

    def _fill(self, account_id: str, shown: dict[str, Any]) -> VenueReport:
        plain = self._report(
            account_id,
            ReportKind.FILLED,
            shown["client_order_id"],
            venue_order_id=shown["venue_order_id"],
            cause=shown["trade_id"],
            ts_event_ns=shown["time_ns"],
        )
        return replace(
            plain,
            trade_id=shown["trade_id"],
            price=fixed(Decimal(shown["price"])),
            quantity=fixed(Decimal(shown["quantity"])),
            commission=fixed(Decimal(shown["fee"])),
            currency=shown["currency"],
            liquidity_side=LiquiditySide.MAKER if shown["is_maker"] else LiquiditySide.TAKER,
        )

    def _plain(self, command: VenueCommand, kind: ReportKind, reason: str) -> VenueReport:
        order = command.approved.order
        return self._report(
            order.account_id,
            kind,
            command.client_order_id,
            reason=reason,
            cause=command.command_id,
            ts_event_ns=self._context.now_ns(),
        )

    def _silent(self, command: VenueCommand, reason: str) -> VenueReport:
        return self._plain(command, ReportKind.TIMEOUT, reason)

    def _report(
        self,
        account_id: str,
        kind: ReportKind,
        client_order_id: str,
        *,
        cause: str,
        ts_event_ns: int,
        venue_order_id: str = "",
        reason: str = "",
    ) -> VenueReport:
        return VenueReport(
            report_id=self._derived(cause, f"VenueReport/{kind.value}"),
            account_id=account_id,
            venue=self._context.venue.venue,
            kind=kind,
            client_order_id=client_order_id,
            venue_order_id=venue_order_id,
            trade_id="",
            currency="",
            reason=reason,
            ts_event_ns=ts_event_ns,
            ts_init_ns=self._context.now_ns(),
        )

    def _derived(self, cause: str, kind: str) -> str:
        return derive_id(self._context.run_id, f"venue/{self._context.venue.venue}", cause, kind)
