"""What others wrote does not steer the terminal on which an order is given."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from flows.commands.live import Log
from flows.commands.terminal import print_line
from rollout.record import Alarm, Started
from rollout.terminal import printable
from tests.fakes import START, FakeWorld
from tests.unit.conductor.processes import PLAN, Process

HOSTILE = "worse\x1b]0;owned\x07\x1b[2J\x9b31m\u202etxt"


def test_a_line_is_printed_without_what_would_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_line(f"r1: rolled back: {HOSTILE}")

    printed = capsys.readouterr().out
    assert printed == printable(printed)
    assert r"\x1b[2J" in printed


def test_a_record_is_shown_without_what_would_steer_the_terminal() -> None:
    world, output = FakeWorld(), io.StringIO()
    started = Started(at=START, rollout="r1", plan=PLAN, who=HOSTILE, backend="fake", note=HOSTILE)
    ledger = world.ledger("r1")
    for event in (started, Alarm(at=START + timedelta(seconds=1), what=HOSTILE)):
        ledger.append(event)

    Log(Console(file=output)).show(ledger.read(), Process(world, "ada").plan, note=HOSTILE)

    assert output.getvalue() == printable(output.getvalue())


@settings(max_examples=300, derandomize=True)
@given(text=st.text())
def test_text_fit_for_a_terminal_stays_as_it_is_and_can_be_printed(text: str) -> None:
    shown = printable(text)

    assert printable(shown) == shown
    assert shown.encode().decode() == shown
    assert shown == text or not text.isprintable()
