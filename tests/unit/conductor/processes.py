"""Processes that carry rollouts out on one fake world, and are killed."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from conductor.commands.commands import Desk
from conductor.rollout import carry_out
from conductor.state.rollout_run import Ports, Run
from rollout.events import Ended, Started, StepStarted
from rollout.plan import RolloutPlan, parse_plan
from tests.fakes import FakeWorld

DEMO = parse_plan((Path(__file__).parents[3] / "demo.yaml").read_text())
PLAN = DEMO.model_validate(
    DEMO.model_dump(mode="json")
    | {
        "baseline": {"observe": "3s"},
        "steps": [
            {"name": name, "canary": share, "replicas": replicas, "bake": "8s", "deadline": "40s"}
            for name, share, replicas in (("introduce", "20%", 1), ("increase", "50%", 2), ("full", "100%", 3))
        ],
        "criteria": DEMO.criteria.model_dump(mode="json")
        | {
            "errors": {"healthy_below": "2%", "rollback_above": "5%"},
            "success": {"healthy_above": "96%"},
        },
    }
)
"""Short, and content with little traffic."""


class Killed(BaseException):
    """The process is gone: nothing of it runs any more."""


class Process:
    """One process on a world: it dies when a call is made after its time, and does nothing more then."""

    def __init__(self, world: FakeWorld, owner: str, plan: RolloutPlan = PLAN) -> None:
        self.world, self.owner, self.plan = world.seen_by_another(), owner, plan
        self.waits_for_person, self.flow_run = False, ""

    def run(self, rollout: str = "r1", plan: RolloutPlan | None = None) -> Run:
        world = self.world
        ports = Ports.of(world, rollout, owner=self.owner, notices=world.notices, clock=world.clock)
        return Run.begin(plan or self.plan, ports)

    def started(self, rollout: str = "r1") -> Started:
        at, plan, run = self.world.clock.time, self.plan, self.flow_run
        return Started(at=at, rollout=rollout, plan=plan, who=self.owner, backend="fake", flow_run=run)

    def carry_out(self, rollout: str = "r1") -> Ended:
        return carry_out(self.run(rollout), self.started(rollout), waits_for_person=self.waits_for_person)

    def dies_in(self, step: str, seconds: float = 3) -> None:
        """Carry the rollout out until it is killed, so many seconds after a step has started."""
        clock, ledger = self.world.clock, self.world.ledger("r1")
        holder = self.world.holder

        def look() -> None:
            if any(isinstance(event, StepStarted) and event.step == step for event in ledger.events):
                clock.after(timedelta(seconds=seconds), die)
            else:
                clock.after(timedelta(milliseconds=100), look)

        def die() -> None:
            for fake in (self.world.router, self.world.workloads, ledger, self.world.metrics, self.world.signals("r1")):
                for call in ("set_weights", "scale", "append", "save_state", "add_points", "read", "pods"):
                    fake.fail(call, Killed(), times=-1)
            raise Killed

        look()
        with pytest.raises(Killed):
            self.carry_out()
        for fake in (self.world.router, self.world.workloads, ledger, self.world.metrics, self.world.signals("r1")):
            fake.mend()
        # A dead process gives nothing back.
        holder.owner, holder.gone = self.owner, True

    @property
    def desk(self) -> Desk:
        def open_run(plan: RolloutPlan, rollout: str) -> Run:
            return self.run(rollout, plan)

        return Desk(self.world, open_run, lambda plan: self.world, self.world.clock, self.world.notices, self.owner)
