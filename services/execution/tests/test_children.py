"""Whatever happens, in whatever order, with a restart at any moment: never more than approved.

A state machine approves orders in slices, with protective legs and plain ones, amends, cancels,
halts, silences risk, moves the market and the clock, and restarts the core from a snapshot or from
what was recorded. Every command passes the last look, which counts by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from execution_samples import (
    SECOND,
    Driver,
    amend,
    approved,
    bracket,
    cancel,
    cancel_all,
    dec,
    fills,
    limit,
    order,
    quote,
    ready,
    set_state,
    sliced,
    trade,
    updates,
)
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from tapeline.accounting.numbers import ZERO
from tapeline.contracts.orders import Algorithm, ApprovedOrder, CommandKind, Order, Side
from tapeline.contracts.risk import TradingState
from tapeline.execution.last_look import LastLook
from tapeline.execution.venues.order_view import PROTECTIVE, child_of, role_of
from tapeline.runtime.core import Output
from tapeline.runtime.signing import KeyRing, seal

RING = KeyRing.of({"k1": bytes(32)}, active="k1", revoked=frozenset())
PRICES = st.sampled_from(["94", "97", "99", "100", "101", "103", "106"])
SIZES = st.sampled_from([0.0, 1.0, 5.0, 50.0])


class Children(RuleBasedStateMachine):
    """One shard, its market and its operators."""

    def __init__(self) -> None:
        super().__init__()
        self.look = LastLook(RING)
        self.count = 0
        self.sequence = 0
        self.seen = 0
        self.approvals: dict[str, ApprovedOrder] = {}
        self.driver: Driver

    @initialize(latency_ns=st.sampled_from([0, SECOND]), share=st.sampled_from(["0", "0.5", "1"]))
    def start(self, latency_ns: int, share: str) -> None:
        self.driver = ready(latency_ns=latency_ns, participation_max=dec(share))

    def take(self, record: Any) -> Sequence[Output]:
        return self.driver.step(record)

    def permit(self, record: ApprovedOrder) -> None:
        self.count += 1
        name = f"{record.action.value}-{self.count}"
        record = seal(
            replace(record, approval=replace(record.approval, approval_id=name, key_id="")), RING
        )
        self.approvals[name] = record
        self.take(record)

    def new_order(self, side: Side, quantity: int, price: str) -> Order:
        name = f"o{self.count + 1}"
        if price == "100":
            return order(name, side=side, quantity=dec(quantity))
        return limit(name, price, side=side, quantity=dec(quantity))

    @rule(side=st.sampled_from(Side), price=PRICES, quantity=st.integers(1, 20))
    def plain(self, side: Side, price: str, quantity: int) -> None:
        self.permit(approved(self.new_order(side, quantity, price), now_ns=self.driver.now_ns))

    @rule(
        side=st.sampled_from(Side),
        price=PRICES,
        sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5),
        algorithm=st.sampled_from([Algorithm.TWAP, Algorithm.VWAP, Algorithm.ICEBERG]),
    )
    def in_slices(self, side: Side, price: str, sizes: list[int], algorithm: Algorithm) -> None:
        of = self.new_order(side, sum(sizes), price)
        now_ns = self.driver.now_ns
        self.permit(sliced(of, sizes, algorithm=algorithm, now_ns=now_ns, gap_ns=3 * SECOND))

    @rule(
        side=st.sampled_from(Side),
        price=PRICES,
        quantity=st.integers(1, 20),
        levels=st.sampled_from(["both", "profit", "loss"]),
    )
    def protected(self, side: Side, price: str, quantity: int, levels: str) -> None:
        profit, loss = ("104", "96") if side is Side.BUY else ("96", "104")
        self.permit(
            bracket(
                self.new_order(side, quantity, price),
                "" if levels == "loss" else profit,
                "" if levels == "profit" else loss,
                now_ns=self.driver.now_ns,
            )
        )

    @precondition(lambda self: self.approvals)
    @rule(number=st.integers(0, 50), quantity=st.integers(1, 30), price=PRICES)
    def amended(self, number: int, quantity: int, price: str) -> None:
        of = self.some(number).order
        limit_price = None if of.limit_price is None else dec(price)
        of = replace(of, quantity=dec(quantity), limit_price=limit_price)
        self.permit(amend(of, now_ns=self.driver.now_ns))

    @precondition(lambda self: self.approvals)
    @rule(number=st.integers(0, 50))
    def canceled(self, number: int) -> None:
        self.permit(cancel(self.some(number).order, now_ns=self.driver.now_ns))

    @precondition(lambda self: self.approvals)
    @rule(number=st.integers(0, 50))
    def sent_again(self, number: int) -> None:
        self.take(self.some(number))

    def some(self, number: int) -> ApprovedOrder:
        return list(self.approvals.values())[number % len(self.approvals)]

    @rule(state=st.sampled_from(TradingState))
    def switched(self, state: TradingState) -> None:
        self.sequence += 1
        self.take(set_state(state, self.sequence))

    @rule(spares=st.booleans())
    def all_canceled(self, *, spares: bool) -> None:
        self.sequence += 1
        changes = {"command_id": f"c{self.sequence}", "spares_protective": spares}
        self.take(cancel_all(self.sequence, **changes))

    @rule(price=PRICES, size=SIZES, is_quote=st.booleans())
    def market(self, price: str, size: float, *, is_quote: bool) -> None:
        self.driver.at(self.driver.now_ns + SECOND // 5)
        now_ns, at = self.driver.now_ns, float(price)
        self.take(quote(now_ns, at - 0.1, at + 0.1, size) if is_quote else trade(now_ns, at, size))

    @rule(seconds=st.sampled_from([1, 2, 3, 7, 60]), is_alive=st.booleans())
    def passed(self, seconds: int, *, is_alive: bool) -> None:
        now_ns = self.driver.now_ns + seconds * SECOND
        if is_alive:
            self.driver.now_ns = now_ns
            self.driver.beat()
        self.driver.at(now_ns)

    @rule(from_snapshot=st.booleans())
    def restarted(self, *, from_snapshot: bool) -> None:
        recovered = self.driver.recovered()
        data = self.driver.dumped()
        assert self.driver.core.dump(recovered) == data
        self.driver.state = self.driver.core.load(data) if from_snapshot else recovered

    @invariant()
    def every_command_passes_the_last_look(self) -> None:
        if not hasattr(self, "driver"):
            return
        for output in self.driver.outputs[self.seen :]:
            self.look.check(output.record)
        self.seen = len(self.driver.outputs)

    def teardown(self) -> None:
        if hasattr(self, "driver"):
            never_more_than_approved(self.driver, self.approvals)
            legs_close_only_what_was_opened(self.driver)
            every_approval_ends_at_most_once(self.driver)


def never_more_than_approved(driver: Driver, approvals: dict[str, ApprovedOrder]) -> None:
    sent: dict[tuple[str, int], Decimal] = {}
    for update in updates(driver.outputs):
        command = update.command
        if command is None or command.kind is not CommandKind.SUBMIT:
            continue
        place = (update.approval_id, command.child_index)
        assert place not in sent, "sent twice"
        sent[place] = command.quantity
        genuine = approvals[update.approval_id]
        assert command.approved == genuine
        child = child_of(genuine, command.child_index)
        assert command.quantity <= (genuine.order.quantity if child is None else child.quantity)
    for name, record in approvals.items():
        slices = (
            quantity
            for (approval_id, index), quantity in sent.items()
            if approval_id == name and role_of(record, index) not in PROTECTIVE
        )
        assert sum(slices, ZERO) <= record.order.quantity


def legs_close_only_what_was_opened(driver: Driver) -> None:
    opened: dict[str, Decimal] = {}
    largest: dict[str, Decimal] = {}
    for update in updates(driver.outputs):
        approval_id = update.approval_id
        largest[approval_id] = max(largest.get(approval_id, ZERO), update.quantity)
    for fill in fills(driver.outputs):
        signed = -fill.quantity if fill.role in PROTECTIVE else fill.quantity
        opened[fill.approval_id] = opened.get(fill.approval_id, ZERO) + signed
        assert ZERO <= opened[fill.approval_id] <= largest[fill.approval_id]


def every_approval_ends_at_most_once(driver: Driver) -> None:
    ended: set[str] = set()
    for update in updates(driver.outputs):
        # A copy that comes when its id is forgotten is refused as expired, once more.
        if update.code == "EXECUTION_EXPIRED":
            continue
        assert update.approval_id not in ended, update
        if update.is_terminal:
            ended.add(update.approval_id)


Children.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, print_blob=True
)
test_children = Children.TestCase
