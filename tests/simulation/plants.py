"""Bugs planted on purpose: what the simulation must find, each by itself, within a few seeds.

A plant replaces one function of the code under test while a run lasts. Its line says what it takes
away or turns round; nothing else about it is known to the simulation.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

from tapeline.contracts.risk import TradingState

Replace = Callable[[Any], Any]
"""original -> what stands in its place"""
ZERO: Final = Decimal("0E-18")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """One planted bug."""

    name: str
    what: str
    where: str
    """module:attribute, with dots inside a class"""
    by: Replace

    @contextmanager
    def planted(self) -> Iterator[None]:
        """The bug is in the code as long as this lasts. Raises AttributeError where the place is
        gone: move the plant with the code."""
        module, _, path = self.where.partition(":")
        holder: Any = importlib.import_module(module)
        *parts, name = path.split(".")
        for part in parts:
            holder = getattr(holder, part)
        original = holder.__dict__[name]
        setattr(holder, name, self.by(original))
        try:
            yield
        finally:
            setattr(holder, name, original)


def always(value: Any) -> Replace:
    """A function that no longer looks."""
    return lambda _original: lambda *_args, **_kwargs: value


def without(name: str) -> Replace:
    """A ladder of checks with one rung sawn off."""

    def by(ladder: Any) -> Any:
        left = tuple(check for check in ladder if check.__name__ != name)
        assert len(left) == len(ladder) - 1, f"{name} is not on the ladder"
        return left

    return by


def _with_verdict_forgotten(original: Any) -> Any:
    return lambda where, event, run_id: original(where, replace(event, verdict=""), run_id)


def _with_old_numbers(original: Any) -> Any:
    def ignored_because(*args: Any) -> str:
        code = str(original(*args))
        return "" if code == "CONTROL_OLD_SEQUENCE" else code

    return ignored_because


def _without_commission(original: Any) -> Any:
    return lambda state, record, now_ns: original(state, replace(record, commission=ZERO), now_ns)


def _nothing_outstanding(original: Any) -> Any:
    def end(state: Any, record: Any, now_ns: int) -> None:
        original(state, replace(record, filled_quantity=ZERO), now_ns)

    return end


def _one_scope_less(original: Any) -> Any:
    return lambda *args: tuple(
        scope for scope in original(*args) if not scope.startswith("INSTRUMENT/")
    )


def _older_marks(original: Any) -> Any:
    def take_mark(state: Any, mark: Any, _now_ns: int) -> None:
        if 1e-9 <= mark.price <= 1e15:
            state.marks[mark.instrument_id] = mark

    return take_mark


def _longer_lived(original: Any) -> Any:
    def approval(self: Any, *args: Any, **kwargs: Any) -> Any:
        found = original(self, *args, **kwargs)
        return replace(found, expires_ns=found.expires_ns + 1, last_send_ns=found.last_send_ns + 1)

    return approval


def _forgetful_load(name: str) -> Replace:
    def by(original: Any) -> Any:
        def load(self: Any, data: bytes) -> Any:
            state = original(self, data)
            return replace(state, **{name: type(getattr(state, name))()})

        return load

    return by


def _uncut(original: Any) -> Any:
    return lambda _question, wish, _worth: (wish, None)


def _rounded_up(original: Any) -> Any:
    def to_lot(question: Any, wish: Any) -> Any:
        found = original(question, wish)
        return replace(found, opening=found.opening + question.instrument.lot_size)

    return to_lot


def _same_ids(original: Any) -> Any:
    def derived(self: Any, kind: str) -> Any:
        self._counts.clear()
        return original(self, kind)

    return derived


def _never_terminal(original: Any) -> Any:
    return lambda *args: replace(original(*args), is_terminal=False)


def _free_of_charge(original: Any) -> Any:
    return lambda state, held, report: original(state, held, replace(report, commission=ZERO))


def _worse_price(original: Any) -> Any:
    def fill_price(order: Any, stance: Any, prices: Any) -> Any:
        found = original(order, stance, prices)
        if found is None or order.limit_price is None:
            return found
        return found[0] + (1 if order.side.value == "BUY" else -1), found[1]

    return fill_price


def _all_of_it_again(original: Any) -> Any:
    return lambda wanted, *_others: wanted + 1


def _last_output_lost(original: Any) -> Any:
    def own_outputs(self: Any, raws: Any) -> Any:
        found = original(self, raws)
        return {place: outputs[:-1] or outputs for place, outputs in found.items()}

    return own_outputs


def _one_back(original: Any) -> Any:
    def restore(self: Any, snapshot: Any) -> None:
        original(self, snapshot)
        for place, position in self.positions.items():
            self.positions[place] = max(position - 1, 0)

    return restore


def _remembers_in_decide(original: Any) -> Any:
    """State that only `decide` changes is lost with the process."""

    def answer(state: Any, scribe: Any, event: Any) -> Any:
        found = original(state, scribe, event)
        if found:
            state.fill_prices[f"seen/{event.record.decision_id}"] = ZERO
        return found

    return answer


def _by_hash(original: Any) -> Any:
    """Ids that depend on the process: no second run repeats them."""

    def derive_id(run_id: str, instance: str, cause: str, kind: str, index: int = 0) -> Any:
        return original(run_id, instance, f"{cause}/{id(run_id) % 7}{object()!r}", kind, index)

    return derive_id


def _reducing_is_active(original: Any) -> Any:
    def strictest(*args: Any) -> TradingState:
        found: TradingState = original(*args)
        return TradingState.ACTIVE if found is TradingState.REDUCING else found

    return strictest


def _forgets_at_once(original: Any) -> Any:
    def approval_seen(state: Any, event: Any, rules: Any) -> Any:
        del event, rules
        return state

    return approval_seen


def _without_reserves(original: Any) -> Any:
    def closable(account: Any, group_id: str, instrument_id: str, side: Any) -> Decimal:
        held = account.ledger.line(group_id, instrument_id).quantity
        return Decimal(max(-held if side.value == "BUY" else held, ZERO))

    return closable


def _half_booked(original: Any) -> Any:
    def filled(state: Any, fill: Any) -> Any:
        if fill.client_order_id in state.orders and fill.leaves_quantity:
            return state
        return original(state, fill)

    return filled


RISK, EXECUTION = "tapeline.risk", "tapeline.execution"
PLANTS: Final = (
    Plant(
        name="decisions-answered-again",
        what="risk no longer knows which decisions it has answered",
        where=f"{RISK}.decisions:is_answered",
        by=always(False),
    ),
    Plant(
        name="halt-ignored-by-risk",
        what="the guard on HALTED is taken off risk's ladder",
        where=f"{RISK}.guards:DECISION_GUARDS",
        by=without("halted"),
    ),
    Plant(
        name="reducing-ignored-by-risk",
        what="the guard on REDUCING is taken off risk's ladder",
        where=f"{RISK}.decisions:ENTRY_GUARDS",
        by=without("not_reducing"),
    ),
    Plant(
        name="reducing-read-as-active",
        what="risk's switchboard says ACTIVE for REDUCING",
        where=f"{RISK}.switchboard:strictest",
        by=_reducing_is_active,
    ),
    Plant(
        name="confidence-ignored",
        what="the guard on confidence is taken off",
        where=f"{RISK}.decisions:ENTRY_GUARDS",
        by=without("confident"),
    ),
    Plant(
        name="disabled-groups-enter",
        what="the guard on disabled groups is taken off",
        where=f"{RISK}.decisions:ENTRY_GUARDS",
        by=without("group_enabled"),
    ),
    Plant(
        name="shorts-without-mandate",
        what="the guard on short positions is taken off",
        where=f"{RISK}.decisions:ENTRY_GUARDS",
        by=without("short_permitted"),
    ),
    Plant(
        name="stale-decisions",
        what="the guard on a decision's age is taken off",
        where=f"{RISK}.guards:DECISION_GUARDS",
        by=without("decision_fresh"),
    ),
    Plant(
        name="collar-off",
        what="the price collar is taken off",
        where=f"{RISK}.guards:ORDER_GUARDS",
        by=without("inside_collar"),
    ),
    Plant(
        name="limits-do-not-cut",
        what="an order that breaks a limit passes whole",
        where=f"{RISK}.limits:fitted",
        by=_uncut,
    ),
    Plant(
        name="open-orders-not-counted",
        what="limits count what is held, not what is on order",
        where=f"{RISK}.limits:combined",
        by=lambda _original: lambda reserves: type(next(iter(reserves.values())))(),
    ),
    Plant(
        name="overlay-ignored",
        what="an overlay tightens nothing",
        where=f"{RISK}.in_force:covers",
        by=always(False),
    ),
    Plant(
        name="quantity-raised",
        what="rounding to lots adds one",
        where=f"{RISK}.sizing:to_lot",
        by=_rounded_up,
    ),
    Plant(
        name="approval-lives-longer",
        what="an approval lives 1 ns longer than the mandate says",
        where=f"{RISK}.answers:Scribe.approval",
        by=_longer_lived,
    ),
    Plant(
        name="commission-forgotten",
        what="risk books fills without their commission",
        where=f"{RISK}.books:fill",
        by=_without_commission,
    ),
    Plant(
        name="late-fills-not-awaited",
        what="the end of an order releases fills that are still to come",
        where=f"{RISK}.books:end",
        by=_nothing_outstanding,
    ),
    Plant(
        name="closed-twice",
        what="what is on order to close may be closed again",
        where=f"{RISK}.books:closable",
        by=_without_reserves,
    ),
    Plant(
        name="old-resume-counts",
        what="risk takes a control record again that it had before",
        where=f"{RISK}.switchboard:ignored_because",
        by=_with_old_numbers,
    ),
    Plant(
        name="forged-control-counts",
        what="risk takes control records whose signature is bad",
        where=f"{RISK}.switchboard:ignored_because",
        by=_with_verdict_forgotten,
    ),
    Plant(
        name="scope-forgotten",
        what="risk overlooks switches of an instrument",
        where=f"{RISK}.switchboard:scopes_of",
        by=_one_scope_less,
    ),
    Plant(
        name="older-mark-wins",
        what="the mark that comes last counts, not the newest",
        where=f"{RISK}.core:_take_mark",
        by=_older_marks,
    ),
    Plant(
        name="snapshot-forgets-decisions",
        what="risk comes back from a snapshot without its last decisions",
        where=f"{RISK}.core:RiskCore.load",
        by=_forgetful_load("last_decisions"),
    ),
    Plant(
        name="snapshot-forgets-switches",
        what="risk comes back from a snapshot with every switch on ACTIVE",
        where=f"{RISK}.core:RiskCore.load",
        by=_forgetful_load("trading_states"),
    ),
    Plant(
        name="state-of-decide",
        what="risk keeps something that only decide has set",
        where=f"{RISK}.decisions:answer",
        by=_remembers_in_decide,
    ),
    Plant(
        name="approval-used-again",
        what="execution no longer knows which approvals it has used",
        where=f"{EXECUTION}.bookkeeping:approval_seen",
        by=_forgets_at_once,
    ),
    Plant(
        name="expiry-ignored",
        what="execution sends under an approval that has expired",
        where=f"{EXECUTION}.admission:_ALWAYS",
        by=without("_expiry"),
    ),
    Plant(
        name="signature-ignored",
        what="execution sends what its shell found to be forged",
        where=f"{EXECUTION}.admission:is_verified",
        by=always(True),
    ),
    Plant(
        name="halt-ignored-by-execution",
        what="execution sends whatever the kill switch says",
        where=f"{EXECUTION}.admission:_OF_ORDERS",
        by=without("_trading_state"),
    ),
    Plant(
        name="silence-ignored",
        what="execution sends while risk is silent",
        where=f"{EXECUTION}.admission:_OF_ORDERS",
        by=without("_risk_is_alive"),
    ),
    Plant(
        name="old-resume-counts-in-execution",
        what="execution takes a control record again that it had before",
        where=f"{EXECUTION}.switchboard:ignored_because",
        by=_with_old_numbers,
    ),
    Plant(
        name="ids-repeat",
        what="two records of one input get the same id",
        where=f"{EXECUTION}.transcript:Transcript.derived",
        by=_same_ids,
    ),
    Plant(
        name="no-end",
        what="no step of an order is terminal",
        where=f"{EXECUTION}.life_cycle:update_of",
        by=_never_terminal,
    ),
    Plant(
        name="part-fills-forgotten",
        what="execution does not add up partial fills",
        where=f"{EXECUTION}.bookkeeping:filled",
        by=_half_booked,
    ),
    Plant(
        name="venue-free-of-charge",
        what="the venue's ledger leaves the commission out",
        where=f"{EXECUTION}.venues.paper_books:_filled",
        by=_free_of_charge,
    ),
    Plant(
        name="beyond-the-limit-price",
        what="the venue fills a limit order at a worse price",
        where=f"{EXECUTION}.venues.paper:fill_price",
        by=_worse_price,
    ),
    Plant(
        name="filled-beyond-quantity",
        what="the venue fills one more than is left",
        where=f"{EXECUTION}.venues.paper:fill_quantity",
        by=_all_of_it_again,
    ),
    Plant(
        name="output-lost-in-recovery",
        what="recovery overlooks the last of several outputs of an input",
        where="tapeline.runtime.shard:Shard.own_outputs",
        by=_last_output_lost,
    ),
    Plant(
        name="snapshot-one-back",
        what="a snapshot's positions are one too low",
        where="tapeline.runtime.shard:Shard.restore",
        by=_one_back,
    ),
    Plant(
        name="ids-by-chance",
        what="risk's ids depend on where things lie in memory",
        where=f"{RISK}.answers:derive_id",
        by=_by_hash,
    ),
)
