"""The record's way to a ledger that does not answer at once."""

from __future__ import annotations

from datetime import UTC, datetime

from backends.cluster.ledger import with_line
from conductor.state.journal import PATIENCE, Journal
from rollout.events import Ended, EndState
from tests.fakes import FakeClock, FakeLedger

AT = datetime(2026, 1, 5, 9, tzinfo=UTC)
ENDED = Ended(at=AT, state=EndState.ROLLED_BACK, reason="errors")


def test_the_end_is_waited_for_until_it_is_written() -> None:
    ledger, clock = FakeLedger(), FakeClock(AT)
    journal = Journal(ledger, clock)
    ledger.fail("append", times=5)

    journal.append(ENDED)
    journal.finish()

    assert ledger.events == [ENDED]


def test_a_ledger_that_is_gone_for_good_is_not_waited_for_for_ever() -> None:
    ledger, clock = FakeLedger(), FakeClock(AT)
    journal = Journal(ledger, clock)
    ledger.fail("append", times=-1)

    journal.append(ENDED)
    journal.finish()

    assert ledger.events == []
    assert clock.now() == AT + PATIENCE


def test_an_event_whose_answer_was_lost_is_written_once() -> None:
    once = with_line("first\n", "second\n")

    assert with_line(once, "second\n") == once == "first\nsecond\n"
