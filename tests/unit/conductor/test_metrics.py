"""What is exported of a rollout, from its ledger alone."""

from __future__ import annotations

from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from conductor.commands.commands import begun
from conductor.commands.exporter import metrics
from conductor.commands.status import standing
from rollout.errors import RolloutError, SetupError, UnavailableError
from rollout.events import Ended, EndState, VerdictChanged
from rollout.model import Basis, Outcome
from rollout.verdict_entries import FindingEntry, VerdictEntry
from tests.fakes import FakeWorld
from tests.unit.conductor.processes import Process

Samples = dict[str, list[tuple[dict[str, str], float]]]


@pytest.fixture
def world() -> FakeWorld:
    return FakeWorld()


class _Told:
    def __init__(self, world: FakeWorld) -> None:
        self.world = world

    def collect(self) -> object:
        return metrics(standing(self.world, self.world.clock.time), begun(self.world))


def exported(world: FakeWorld) -> Samples:
    """Return what Prometheus reads."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Told(world))  # type: ignore[arg-type]
    found: Samples = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((dict(sample.labels), sample.value))
    return found


def chosen(found: Samples, name: str, label: str) -> list[str]:
    return [labels[label] for labels, value in found[name] if value == 1]


def by(found: Samples, name: str, label: str) -> dict[str, float]:
    return {labels[label]: value for labels, value in found[name]}


def test_a_service_without_a_rollout_exports_nothing(world: FakeWorld) -> None:
    assert exported(world) == {}


def test_a_promoted_rollout_tells_its_end_its_decisions_and_how_long_they_took(world: FakeWorld) -> None:
    Process(world, "ada").carry_out()

    found = exported(world)

    assert chosen(found, "canary_rollout_state", "state") == ["promoted"]
    assert chosen(found, "canary_verdict", "outcome") == ["pass"]
    assert by(found, "canary_rollouts", "state")["promoted"] == 1
    assert by(found, "canary_decisions", "decision") | {"hold": 0} == {
        "hold": 0,
        "advance": 2,
        "promote": 1,
        "roll back": 0,
    }
    took = by(found, "canary_time_to_decision_seconds", "step")
    assert set(took) == {"introduce", "increase", "full"}
    assert all(seconds >= 8 for seconds in took.values())


def test_a_dead_owners_rollout_is_exported_as_it_stands(world: FakeWorld) -> None:
    Process(world, "ada").dies_in("introduce")

    found = exported(world)

    assert chosen(found, "canary_rollout_state", "state") == ["orphaned"]
    assert chosen(found, "canary_rollout_phase", "phase") == ["introduce"]
    assert by(found, "canary_weight_asked_percent", "track") == {"stable": 80, "canary": 20}
    assert by(found, "canary_weight_in_force_percent", "track") == {"stable": 80, "canary": 20}
    assert [value for _, value in found["canary_rollout_held"]] == [0]
    assert set(by(found, "canary_evidence_needed_log", "for")) == {"rollback", "promotion"}
    assert {"rollback", "promotion"} == {labels["for"] for labels, _ in found["canary_evidence_log"]}
    assert {"harm", "health"} <= {labels["answers"] for labels, _ in found["canary_finding_limit"]}


@pytest.mark.parametrize("error", [UnavailableError("no answer"), SetupError("not allowed")])
def test_a_split_that_cannot_be_read_is_left_out_alone(world: FakeWorld, error: RolloutError) -> None:
    Process(world, "ada").dies_in("introduce")
    world.router.fail("read_weights", error, times=-1)

    found = exported(world)

    assert "canary_weight_in_force_percent" not in found
    assert by(found, "canary_weight_asked_percent", "track")["canary"] == 20


@pytest.mark.parametrize("state", list(EndState))
def test_every_end_is_counted_with_its_moment(world: FakeWorld, state: EndState) -> None:
    process = Process(world, "ada")
    world.ledger("r1").append(process.started())
    world.clock.advance(timedelta(seconds=7))
    world.ledger("r1").append(Ended(at=world.clock.time, state=state, reason="so it is"))

    found = exported(world)

    assert chosen(found, "canary_rollout_state", "state") == [str(state)]
    assert {key for key, value in by(found, "canary_rollouts", "state").items() if value} == {str(state)}
    moment = by(found, "canary_rollout_ended_timestamp_seconds", "state")[str(state)]
    assert moment == world.clock.time.timestamp()


def test_a_note_speaks_against_nobody(world: FakeWorld) -> None:
    note, open_question = (
        FindingEntry(criterion="latency", basis=basis, outcome=Outcome.INCONCLUSIVE, reason="")
        for basis in (Basis.NOTE, Basis.ABSOLUTE)
    )
    verdict = VerdictEntry(
        outcome=Outcome.INCONCLUSIVE,
        reason="",
        findings=(note, open_question),
        rollback_evidence=0,
        rollback_needed=4.6,
        promotion_evidence=0,
        promotion_needed=3,
    )

    ledger = world.ledger("r1")
    ledger.append(Process(world, "ada").started())
    ledger.append(VerdictChanged(at=world.clock.time, step="introduce", verdict=verdict))

    assert chosen(exported(world), "canary_findings_against", "basis") == ["absolute"]
