from __future__ import annotations

from tapeline.market_data.feeds.interface import LastSeen, RawTrade
from tapeline.market_data.feeds.trade_tape import TradeTape


def trades(*numbers: int) -> list[RawTrade]:
    return [
        RawTrade(
            instrument_id="A.X", price=1.0, size=1.0, ts_event_ns=number * 10, trade_id=str(number)
        )
        for number in numbers
    ]


def ids(found: list[RawTrade]) -> list[str]:
    """Ids in order; a * marks a trade behind a gap."""
    return [trade.trade_id + ("*" if trade.is_after_gap else "") for trade in found]


def test_what_came_before_the_first_trade_is_unknown() -> None:
    assert ids(TradeTape(True).streamed(trades(5, 6))) == ["5*", "6"]


def test_a_hole_in_consecutive_ids_is_a_gap_and_in_others_is_not() -> None:
    strict, loose = TradeTape(True), TradeTape(False)
    assert ids(strict.streamed(trades(5, 7, 8))) == ["5*", "7*", "8"]
    assert ids(loose.streamed(trades(5, 7, 8))) == ["5*", "7", "8"]


def test_a_break_that_a_request_bridges_leaves_no_gap_and_no_repeat() -> None:
    tape = TradeTape(True)
    tape.streamed(trades(1, 2))
    tape.break_off()
    assert ids(tape.caught_up(trades(1, 2, 3, 4, 5))) == ["3", "4", "5"]
    assert ids(tape.streamed(trades(5, 6))) == ["6"]


def test_a_break_bridged_by_the_next_number_alone_leaves_no_gap() -> None:
    tape = TradeTape(True)
    tape.streamed(trades(1, 2))
    tape.break_off()
    assert ids(tape.caught_up(trades(3, 4))) == ["3", "4"]


def test_a_break_that_a_request_cannot_bridge_is_a_gap() -> None:
    for consecutive in (True, False):
        tape = TradeTape(consecutive)
        tape.streamed(trades(1, 2))
        tape.break_off()
        assert ids(tape.caught_up(trades(7, 8))) == ["7*", "8"]


def test_a_break_without_consecutive_ids_is_closed_by_an_overlap_only() -> None:
    tape = TradeTape(False)
    tape.streamed(trades(1, 2))
    tape.break_off()
    assert ids(tape.streamed(trades(3))) == ["3*"]
    tape.break_off()
    assert ids(tape.caught_up(trades(3, 9))) == ["9"]


def test_what_the_stream_itself_repeats_is_passed_on_for_the_gate_to_refuse() -> None:
    tape = TradeTape(True)
    assert ids(tape.streamed(trades(1, 2))) == ["1*", "2"]
    assert ids(tape.streamed(trades(2))) == ["2"]


def test_the_stream_may_repeat_a_fetched_trade_once() -> None:
    tape = TradeTape(True)
    tape.streamed(trades(1))
    tape.break_off()
    tape.caught_up(trades(1, 2))
    assert ids(tape.streamed(trades(2))) == []
    assert ids(tape.streamed(trades(2))) == ["2"]


def test_a_restart_continues_behind_what_was_published() -> None:
    tape = TradeTape(True, LastSeen(ts_event_ns=20, trade_ids=("1", "2")))
    assert tape.is_broken
    assert ids(tape.caught_up(trades(1, 2, 3))) == ["3"]


def test_trades_before_the_first_request_are_not_played() -> None:
    tape = TradeTape(True)
    tape.begin(trades(1, 2))
    assert ids(tape.caught_up(trades(1, 2, 3))) == ["3"]


def test_a_hole_and_a_break_ask_for_a_catch_up_and_a_fresh_start_does_not() -> None:
    tape = TradeTape(True)
    assert not tape.needs_catch_up(trades(1))
    tape.streamed(trades(1, 2))
    assert not tape.needs_catch_up([])
    assert not tape.needs_catch_up(trades(3, 9))
    assert tape.needs_catch_up(trades(5, 4))
    tape.break_off()
    assert tape.needs_catch_up(trades(3))


def test_trades_without_ids_are_told_apart_by_time() -> None:
    tape = TradeTape(False)
    old, new = (
        RawTrade(instrument_id="A.X", price=1.0, size=1.0, ts_event_ns=ts) for ts in (10, 20)
    )
    tape.streamed([old])
    assert len(tape.caught_up([old, new])) == 1
