from __future__ import annotations

import io
from collections.abc import Callable
from datetime import timedelta

import pytest
from rich.console import Console

from cli.live_page import Log, page, screen_on
from rollout.record import RolloutRecord, SeriesPoint
from tests.unit.report.records import SAMPLES, demo_plan, rolled_back


def drawn(record: RolloutRecord) -> str:
    console = Console(file=io.StringIO(), width=120, record=True)
    now = record.events[-1].at if record.events else rolled_back().events[0].at
    console.print(page(record, record.started.plan if record.started else demo_plan(), now))
    return console.export_text()


@pytest.mark.parametrize("name", SAMPLES)
def test_the_page_can_be_drawn_after_every_event(name: str) -> None:
    sample: Callable[[], RolloutRecord] = SAMPLES[name]
    record = sample()

    for cut in range(0, len(record.events) + 1, 9):
        assert "canary-app" in drawn(record.model_copy(update={"events": record.events[:cut]}))


def test_the_page_shows_phase_weights_errors_and_both_evidences() -> None:
    text = drawn(rolled_back())

    for words in ("introduce", "baseline", "stable v1", "canary v2", "evidence for rollback", "evidence for promotion"):
        assert words in text


def test_a_track_without_requests_has_neither_errors_nor_latency() -> None:
    record = rolled_back()
    at = record.events[-1].at + timedelta(seconds=1)
    silent = record.series["stable.requests"] + (SeriesPoint.single("stable.requests", at, 0.0),)

    text = drawn(record.model_copy(update={"series": record.series | {"stable.requests": silent}}))

    (line,) = [line for line in text.splitlines() if "stable v1" in line]
    assert line.strip(" │").split()[-3:] == ["0", "–", "–"]


def test_without_a_terminal_each_event_is_one_line_once() -> None:
    record, output = rolled_back(), io.StringIO()
    console = Console(file=output, width=80)

    with screen_on(console) as screen:
        for cut in range(len(record.events) + 1):
            screen.show(record.model_copy(update={"events": record.events[:cut]}), demo_plan())

    assert isinstance(screen, Log)
    assert len(output.getvalue().splitlines()) == len(record.events)
