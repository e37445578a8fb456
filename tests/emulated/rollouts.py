"""A rollout through the cluster backend: the real conductor and judge, scripted traffic on a fake clock."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backends.cluster.environment import World, attach
from conductor.state.rollout_run import Ports, Run
from flows import canary
from rollout.events import StepStarted
from rollout.model import Weights
from rollout.plan import RolloutPlan, parse_plan
from tests.emulated.shipped import ROOT
from tests.fakes import FakeClock, FakeMetrics, FakeNotices
from wiring.composition import Target

PLAN = parse_plan((ROOT / "demo.yaml").read_text())


class Traffic:
    """What the fake metrics ask of a router: the split that stands in the cluster at this moment.

    It is asked of a world of its own, so that faults of the API server do not hit the traffic too.
    """

    def __init__(self, world: World) -> None:
        self._world = world

    @property
    def weights(self) -> Weights:
        return self._world.router.read_weights()


class Rollout:
    """A rollout on a cluster, and what another process sees of it."""

    def __init__(
        self, world: World, monkeypatch: pytest.MonkeyPatch, *, traffic: Any = None, clock: FakeClock | None = None
    ) -> None:
        self.world = world
        self.rollout_id = "r1"
        self.plan = PLAN
        self.clock, self.notices = clock or FakeClock(datetime.now(UTC)), FakeNotices()
        self.metrics = FakeMetrics(self.clock, traffic or Traffic(attach(world.settings)))
        monkeypatch.setattr(canary, "open_run", self._open)
        monkeypatch.setattr(canary, "check_fitness", lambda *_: None)  # of no live target

    def _open(self, plan: RolloutPlan, target: Target, rollout_id: str) -> Run:
        ports = Ports.of(self.world, rollout_id, owner=rollout_id, notices=self.notices, clock=self.clock)
        return Run.begin(plan, replace(ports, metrics=self.metrics))

    def carry_out(self, rollout_id: str = "r1") -> None:
        self.rollout_id = rollout_id
        canary.canary_rollout.fn(self.plan, rollout_id=rollout_id, waits_for_person=False)

    def when(self, step: str, seconds: float, action: Any) -> None:
        def look() -> None:
            events = self.record.events
            if any(isinstance(event, StepStarted) and event.step == step for event in events):
                self.clock.after(timedelta(seconds=seconds), action)
            else:
                self.clock.after(timedelta(seconds=2), look)

        look()

    @property
    def record(self) -> Any:
        """The record as another process reads it."""
        return attach(self.world.settings).ledger(self.rollout_id).read()
