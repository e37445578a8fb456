from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.command_line import app
from cli.demo_run import FaultAt
from rollout.errors import PlanError
from rollout.model import Track
from rollout.plan import parse_plan

PLAN = parse_plan((Path(__file__).parents[2] / "demo.yaml").read_text())


def test_a_fault_comes_five_seconds_into_the_first_step_unless_said() -> None:
    fault = FaultAt.parse("errors=5%", "", "", PLAN)

    assert (fault.step, fault.after, fault.lasts, fault.track) == (
        "introduce",
        timedelta(seconds=5),
        None,
        Track.CANARY,
    )


def test_an_outage_hits_both_tracks_for_ten_seconds_unless_said() -> None:
    assert FaultAt.parse("outage", "increase+2", "", PLAN).lasts == timedelta(seconds=10)
    assert FaultAt.parse("outage", "increase+2", "3s", PLAN).lasts == timedelta(seconds=3)
    assert FaultAt.parse("outage", "", "", PLAN).track is None


@pytest.mark.parametrize(
    ("text", "at", "lasts", "said"),
    [
        ("boom", "", "", "fault: got 'boom', allowed"),
        ("errors=500%", "", "", "fault.errors: got '500%'"),
        ("outage", "nowhere+3", "", "--at: got 'nowhere\\+3', allowed: STEP\\+SECONDS with STEP one of introduce"),
        ("outage", "introduce", "", "--at: got 'introduce'"),
        ("outage", "introduce+-3", "", "--at"),
        ("outage", "", "soon", "--for: got 'soon', allowed: a duration"),
    ],
)
def test_a_wrong_fault_names_option_value_and_what_is_allowed(text: str, at: str, lasts: str, said: str) -> None:
    with pytest.raises(PlanError, match=said):
        FaultAt.parse(text, at, lasts, PLAN)


def test_the_help_lists_the_commands() -> None:
    answer = CliRunner().invoke(app, ["--help"])

    assert answer.exit_code == 0
    for command in ("demo", "report"):
        assert command in answer.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--protocol", "soap"], "--protocol: got 'soap', allowed: http, grpc"),
        (["--protocol", "http", "--fault", "grpc-unavailable=20%"], "fault: got 'grpc-unavailable=20%' for a service"),
        (["--protocol", "grpc", "--noise", "404=10%"], "fault: got '404=10%' for a service that speaks grpc"),
        (["--fault", "grpc-internal", "--noise", "404=10%"], "for a service that speaks http, allowed: with protocol"),
        (["--noise", "crash-loop"], "noise: got 'crash-loop', allowed: a share of failed answers"),
        (["--fault", "grpc-nonsense"], "fault: got 'grpc-nonsense', allowed"),
    ],
)
def test_a_service_that_cannot_be_names_option_value_and_what_is_allowed(options: list[str], message: str) -> None:

    result = CliRunner().invoke(app, ["demo", *options])

    assert isinstance(result.exception, PlanError)
    assert message in str(result.exception)
