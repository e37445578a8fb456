"""What the canary reads, as the conductor remembers it."""

from __future__ import annotations

from conductor.checks.pod_inputs import look_at_footing
from conductor.state.rollout_run import Ports, Run
from rollout.events import ComparisonRestarted
from tests.fakes import FakeWorld
from tests.unit.conductor.processes import PLAN


def test_a_configuration_that_changed_while_nobody_watched_begins_the_comparison_again() -> None:
    world = FakeWorld()
    world.workloads.inputs = {"ConfigMap flags": "1"}
    first = _run(world)
    look_at_footing(first, world.clock.time)
    first.save()
    world.workloads.inputs = {"ConfigMap flags": "2"}
    second = _run(world)
    second.restore_position(world.ledger("r1").state or "")

    second.step_index, second.step_since = 0, world.clock.time
    look_at_footing(second, world.clock.time)

    (restarted,) = world.ledger("r1").record.of(ComparisonRestarted)
    assert restarted.reason == "ConfigMap flags changed, which the canary reads"


def _run(world: FakeWorld) -> Run:
    return Run.begin(PLAN, Ports.of(world, "r1", owner="r1", notices=world.notices, clock=world.clock))
