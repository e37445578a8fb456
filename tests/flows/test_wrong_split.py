"""A split in the traffic that is not the one asked for: told with its size, and the cause that the evidence names."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

import pytest

from analysis.scrapes.samples import REQUESTS, Samples, Series
from analysis.verdict.blockers import Clues, likely_cause, sample_ratio, suspect_of, with_clues
from conductor.checks.split_mismatch import with_cause
from conductor.moves import shift
from conductor.state.rollout_run import Ports, Run
from rollout.decide import Hold
from rollout.events import Alarm, Ended, EndState
from rollout.load import ClientCounts
from rollout.model import (
    Outcome,
    SplitCause,
    Track,
    Trouble,
    Verdict,
    Weights,
)
from rollout.plan import parse_plan
from tests.fakes import FakeWorld
from tests.flows.test_topped_up_load import DEMO
from tests.unit.conductor import processes
from tests.unit.conductor.processes import Process

MISMATCH = sample_ratio(0.4, 0.2, 5000, 90.0, 4.6)
WRONG = Verdict(Outcome.INCONCLUSIVE, (MISMATCH,))


@pytest.mark.parametrize(
    ("observed", "clues", "cause"),
    [
        (0.0, Clues(ready=0), "the subset of the canary has no pods: none is ready"),
        (
            0.0,
            Clues(ready=2, refused=40),
            (
                "the subset of the canary has no pods: 40 of the rollout's own requests got no pod, "
                "and its labels may match none of the 2 that are ready"
            ),
        ),
        (
            0.55,
            Clues(by_pods=900, by_gateway=200, own=(200, 1000)),
            "a mirror that copies requests to the canary: its pods counted 900, the gateway sent them 200",
        ),
        (
            0.4,
            Clues(by_pods=210, by_gateway=200, own=(208, 1000)),
            (
                "sticky sessions, long-lived connections or a testers' header that keep clients on the canary: "
                "20.8 % of the rollout's own 1,000 requests, which keep to nothing, reached the canary as asked"
            ),
        ),
        (
            0.12,
            Clues(own=(120, 1000)),
            (
                "the gateway itself splits otherwise (another route before it, a subset that selects other pods, or "
                "clients told apart by their address): 12 % of the rollout's own 1,000 requests, which keep to "
                "nothing, reached the canary"
            ),
        ),
    ],
)
def test_the_cause_is_told_from_what_else_can_be_seen(observed: float, clues: Clues, cause: str) -> None:
    finding = with_clues(sample_ratio(observed, 0.2, 5000, 90.0, 4.6), clues)

    assert finding.reason.startswith("sample ratio mismatch: the canary got ")
    assert "of 5,000 requests, 20 % was asked for" in finding.reason
    assert finding.reason.endswith(f"likely cause: {cause}")


def test_where_nothing_points_to_a_cause_the_size_alone_has_to_do() -> None:
    few = Clues(ready=2, by_pods=90, by_gateway=88, own=(9, 40))

    assert suspect_of(0.4, 0.2, few) is None
    assert with_clues(MISMATCH, few) == MISMATCH
    assert MISMATCH.reason.endswith(likely_cause(0.4, 0.2))


def in_a_step() -> tuple[Run, FakeWorld]:
    world = FakeWorld()
    ports = Ports.of(world, "r1", owner="o", notices=world.notices, clock=world.clock)  # type: ignore[arg-type]
    run = Run.begin(parse_plan(DEMO), ports)
    run.step_index, run.step_since = 0, world.clock.now()
    return run, world


class Copied:
    """Metrics of a canary whose pods count more than the gateway sent them."""

    def __init__(self) -> None:
        self.asked = 0

    def read_range(self, since: object, until: object) -> Samples:
        self.asked += 1
        counts = (("stable", "", 800), ("canary", "", 200), ("canary", "p1", 600), ("stable", "p2", 800))
        rows = [(t, Series(track, pod, REQUESTS), t * n / 10) for t in (0, 10) for track, pod, n in counts]
        return Samples.of_rows(rows)


def test_pods_that_count_more_than_the_gateway_sent_them_betray_a_mirror() -> None:
    run, _ = in_a_step()
    metrics = Copied()
    run.ports = replace(run.ports, metrics=metrics)  # type: ignore[arg-type]

    for _ in range(20):
        verdict = with_cause(run, WRONG, run.ports.clock.now())
        run.ports.clock.sleep(timedelta(seconds=1))

    assert verdict.findings[0].reason.endswith("its pods counted 600, the gateway sent them 200")
    assert metrics.asked == 1  # a wrong split must not make every look slower
    (told,) = run.alarms.kept()
    assert (told.trouble, told.subject) == (Trouble.SPLIT_MISMATCH, SplitCause.MIRROR)


def test_the_rollouts_own_clients_tell_sticky_ones_from_a_gateway_that_splits_otherwise() -> None:
    run, _ = in_a_step()
    run.load.take(ClientCounts(), (0, run.step_since))
    run.load.take(ClientCounts(requests={"stable": 800, "canary": 200}), (0, run.step_since))

    verdict = with_cause(run, WRONG, run.ports.clock.now())

    assert "sticky sessions" in verdict.findings[0].reason
    assert "20 % of the rollout's own 1,000 requests" in verdict.findings[0].reason


def test_a_split_that_never_comes_is_held_with_its_size_and_cause() -> None:
    world = FakeWorld()
    ports = Ports.of(world, "r1", owner="o", notices=world.notices, clock=world.clock)  # type: ignore[arg-type]
    run = Run.begin(parse_plan(DEMO), ports)
    run.ports.lock.acquire()
    world.metrics.split = Weights.with_canary(40)

    stop = shift(run, 0)

    assert isinstance(stop, Hold)
    assert "20 % was asked for and not seen in the traffic: sample ratio mismatch: the canary got 40." in stop.reason
    assert Track.CANARY in {pod.track for pod in world.workloads.pods()}


LONG = processes.PLAN.model_validate(
    processes.PLAN.model_dump(mode="json")
    | {
        "scrape": "15s",
        "baseline": {"observe": "5m"},
        "steps": [{"name": "introduce", "canary": "20%", "replicas": 1, "bake": "70m", "deadline": "2h"}],
    }
)


def carried_out(*splits: tuple[int, int | None]) -> tuple[FakeWorld, Ended]:
    """Carry a long step out, in which the traffic is split otherwise from some minute on, or as asked again."""
    world = FakeWorld(scrape=timedelta(seconds=15))
    world.metrics.rps = 100.0
    for minute, canary in splits:
        split = None if canary is None else Weights.with_canary(canary)
        world.clock.after(timedelta(minutes=minute), lambda split=split: setattr(world.metrics, "split", split))
    return world, Process(world, "ada", LONG).carry_out()


def written(world: FakeWorld) -> list[Alarm]:
    events = world.ledger("r1").record.of(Alarm)
    return [event for event in events if event.trouble is Trouble.SPLIT_MISMATCH]


def test_a_share_that_halves_after_an_hour_blocks_promotion_and_is_told_once_until_it_is_mended() -> None:
    world, ended = carried_out((65, 10), (95, None))

    (alarm,) = written(world)
    began = world.ledger("r1").events[0].at
    assert ended.state is EndState.PROMOTED
    assert alarm.subject == SplitCause.KEPT_ON_STABLE
    assert timedelta(minutes=65) < alarm.at - began < timedelta(minutes=68)
    assert timedelta(minutes=95) < ended.at - began < timedelta(minutes=105)
    assert [notice.text for notice in world.notices.sent].count(alarm.text) == 1


def test_a_share_that_stays_wrong_is_held_for_a_person_and_rolls_nothing_back_by_itself() -> None:
    world, ended = carried_out((65, 10))

    assert ended.state is EndState.HELD
    assert re.search(r"sample ratio mismatch: the canary got (9\.\d\d|10\.\d) % of", ended.reason)
    assert f"likely cause: {SplitCause.KEPT_ON_STABLE}" in ended.reason
    assert len(written(world)) == 1


def test_a_split_that_is_right_throughout_is_no_alarm_and_blocks_nothing() -> None:
    world, ended = carried_out()

    assert ended.state is EndState.PROMOTED
    assert ended.at - world.ledger("r1").events[0].at < timedelta(minutes=80)
    assert not written(world)


def test_the_rollouts_own_clients_count_from_when_the_split_was_right_last() -> None:
    run, _ = in_a_step()
    right = Verdict(Outcome.INCONCLUSIVE, ())
    run.load.take(ClientCounts(), (0, run.step_since))
    run.load.take(ClientCounts(requests={"stable": 80_000, "canary": 20_000}), (0, run.step_since))
    with_cause(run, right, run.ports.clock.now())
    run.load.take(ClientCounts(requests={"stable": 80_600, "canary": 20_400}), (0, run.step_since))

    verdict = with_cause(run, WRONG, run.ports.clock.now())

    assert "40 % of the rollout's own 1,000 requests" in verdict.findings[0].reason
    mismatch = verdict.findings[0].mismatch
    assert mismatch is not None
    assert mismatch.cause is SplitCause.OTHER_ROUTE
