"""Metrics as Prometheus fetches them, over HTTP, from a fake world's ledger."""

from __future__ import annotations

import io
import socket
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from conductor.orders import Desk
from flows.commands import guard, metrics, watching
from flows.commands.metrics import Looks
from flows.targets import Target
from rollout.errors import SetupError
from rollout.model import AT_REST
from rollout.record import EndState
from tests.fakes import FakeWorld
from tests.unit.conductor.processes import Process

PLAN = Path("rollout.yaml")


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A service whose one rollout was promoted."""
    process = Process(FakeWorld(), "ada")
    process.carry_out()
    monkeypatch.setattr(metrics, "desk_at", lambda *_: process.desk)
    return process.desk


def test_what_the_ledger_holds_is_served_and_the_embedded_prometheus_told_where(desk: Desk, tmp_path: Path) -> None:
    looks = Looks()
    looks.note(looked=True, actions=2)

    with metrics.serving(Target(state=tmp_path), PLAN, also=[looks]) as address:
        served = httpx.get(address).text
        told = [file.read_text() for file in (tmp_path / "prometheus" / "targets").iterdir()]

    assert 'canary_rollout_state{service="canary-app",state="promoted"} 1.0' in served
    assert "canary_ledger_readable 1.0" in served
    assert "canary_guard_actions_total 2.0" in served
    assert told == [f'[{{"targets": ["{address.removeprefix("http://").removesuffix("/metrics")}"]}}]']
    assert not list((tmp_path / "prometheus" / "targets").iterdir())


def test_a_guard_exports_its_deeds_and_not_every_line_that_it_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    world = FakeWorld()
    Process(world, "ada").dies_in("introduce")
    desk = Process(world, "guard").desk
    monkeypatch.setattr(guard, "desk_at", lambda *_: desk)
    watch = guard.Watch(Target(), PLAN, lambda one: one.name)
    desk.world.router.fail("set_weights", times=-1)

    watch.look()
    in_vain = exported(watch.looks)
    desk.world.router.mend()
    watch.look()
    watch.look()

    assert (in_vain["canary_guard_actions_total"], in_vain["canary_guard_looks_total"]) == (0, 1)
    assert (exported(watch.looks)["canary_guard_actions_total"], world.router.weights) == (1, AT_REST)


def exported(looks: Looks) -> dict[str, float]:
    samples = [one for family in looks.collect() for one in family.samples]
    return {one.name: one.value for one in samples if one.labels.get("result") != "could not look"}


def test_a_ledger_that_cannot_be_read_is_said_and_nothing_made_up(tmp_path: Path) -> None:
    with metrics.serving(Target(state=tmp_path), PLAN) as address:
        served = httpx.get(address).text

    assert "canary_ledger_readable 0.0" in served
    assert "canary_rollout" not in served


def test_a_taken_port_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(SetupError, match=f"port {port}: cannot be listened on"):
            metrics.serving(Target(state=tmp_path), PLAN, port=port).__enter__()


def test_a_rollout_that_has_ended_can_be_watched_still(desk: Desk) -> None:
    output = io.StringIO()

    assert watching._seen_to_its_end(desk.world, "", Console(file=output)) is EndState.PROMOTED
    assert "Promoted" in output.getvalue()
