"""The triggers where a limit is just reached, or just not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rollout.model import Pod, Track
from rollout.ports import Signal, SignalKind
from rollout.triggers import PodHistory, complaints, find_triggers, observe
from tests.unit.rollout.test_triggers import CANARY, CRITERIA, STABLE, START, restarted, seen, triggers, waiting

WITHIN = CRITERIA.pods.within


@pytest.mark.parametrize(("apart", "crashes"), [(WITHIN, True), (WITHIN + timedelta(seconds=1), False)])
def test_a_restart_counts_for_as_long_as_the_plan_says_and_no_longer(apart: timedelta, crashes: bool) -> None:
    looks = [STABLE + restarted(CANARY, 0, times) for times in (0, 1, 2)]

    assert bool(triggers(seen(*looks, every=apart))) is crashes


@pytest.mark.parametrize(("apart", "is_blamed"), [(WITHIN, True), (WITHIN + timedelta(seconds=1), False)])
def test_a_kill_for_want_of_memory_counts_for_as_long_as_the_plan_says(apart: timedelta, is_blamed: bool) -> None:
    starved = (Pod("v2-0", Track.CANARY, ready=True, restarts=1, out_of_memory=True), *CANARY[1:])
    history = seen(STABLE + CANARY, STABLE + starved)
    later = observe(history, STABLE + starved, now=START + timedelta(seconds=5) + apart, within=WITHIN)

    assert bool(triggers(later)) is is_blamed


def test_only_the_pod_that_was_killed_for_its_memory_is_named() -> None:
    starved = (CANARY[0], Pod("v2-1", Track.CANARY, ready=True, restarts=1, out_of_memory=True), CANARY[2])
    both = (Pod("v2-0", Track.CANARY, ready=True, restarts=1), *starved[1:])

    assert triggers(seen(STABLE + CANARY, STABLE + both)) == ["out of memory: pod v2-1 was killed (OOMKilled)"]


@pytest.mark.parametrize("killed", [False, True])
def test_a_baselines_pods_are_neither_the_canarys_nor_stables(killed: bool) -> None:
    baseline = Pod("b-0", Track.BASELINE, ready=True)
    crashed = Pod("b-0", Track.BASELINE, ready=True, restarts=2, out_of_memory=killed)

    assert triggers(seen((*STABLE, *CANARY, baseline), (*STABLE, *CANARY, crashed))) == []


def test_a_canary_that_comes_back_has_three_scrapes_again() -> None:
    gone = tuple(Pod(pod.name, pod.track, ready=False) for pod in CANARY)

    assert triggers(seen(CANARY, gone, gone, CANARY, gone, gone)) == []
    assert triggers(seen(CANARY, gone, gone, CANARY, gone, gone, gone)) != []


def test_a_canary_without_any_pod_is_unavailable() -> None:
    assert triggers(seen(STABLE + CANARY, *[STABLE] * 3)) == ["canary unavailable: no pod ready for 3 scrapes"]


def test_stable_pods_that_are_ready_do_not_make_the_canary_available() -> None:
    gone = tuple(Pod(pod.name, pod.track, ready=False) for pod in CANARY)

    assert triggers(seen(STABLE + CANARY, *[STABLE + gone] * 3)) != []


@pytest.mark.parametrize("reason", ["ContainerCreating", "PodInitializing", "Unschedulable", ""])
def test_what_time_may_cure_is_no_reason_to_roll_back(reason: str) -> None:
    starting = tuple(replace(pod, cannot_start=False) for pod in waiting(CANARY, reason))

    assert triggers(seen(*[STABLE + starting] * 10)) == []


def said(kind: SignalKind, *, ago: timedelta = timedelta(0), count: int = 1, reason: str = "slow") -> Signal:
    return Signal(kind, reason, "ann", START - ago, count=count)


LIMIT = CRITERIA.complaints


@pytest.mark.parametrize(
    ("signals", "rolls_back"),
    [
        ([said(SignalKind.COMPLAINT, count=LIMIT.rollback_at)], True),
        ([said(SignalKind.COMPLAINT, count=LIMIT.rollback_at - 1)], False),
        ([said(SignalKind.COMPLAINT, count=LIMIT.rollback_at, ago=LIMIT.within)], True),
        ([said(SignalKind.COMPLAINT, count=LIMIT.rollback_at, ago=LIMIT.within + timedelta(seconds=1))], False),
        ([said(SignalKind.COMPLAINT)] * LIMIT.rollback_at, True),
        ([said(SignalKind.APPROVE)] * 100, False),
    ],
)
def test_as_many_complaints_as_the_plan_says_in_its_time_roll_back(signals: list[Signal], rolls_back: bool) -> None:
    assert bool(complaints(signals, CRITERIA, START)) is rolls_back
    assert bool(find_triggers(PodHistory(), signals, CRITERIA, START)) is rolls_back


def test_what_the_counter_counted_is_added_to_what_people_said() -> None:
    one_short = [said(SignalKind.COMPLAINT, count=LIMIT.rollback_at - 1)]

    (found,) = complaints(one_short, CRITERIA, START, counted=1)

    assert f"user complaints: {LIMIT.rollback_at} in" in found.reason
    assert "the last note: slow" in found.reason


def test_complaints_without_a_note_are_told_without_one() -> None:
    (found,) = complaints([said(SignalKind.COMPLAINT, count=LIMIT.rollback_at, reason="")], CRITERIA, START)

    assert "note" not in found.reason
    assert " by " not in found.reason


def test_what_pods_do_is_the_criterion_of_pods() -> None:
    gone = tuple(replace(pod, ready=False) for pod in CANARY)
    starved = (replace(CANARY[0], restarts=2, out_of_memory=True), *CANARY[1:])
    histories = [
        seen(CANARY, *[gone] * 3),
        seen(STABLE + CANARY, STABLE + starved),
        seen(*[STABLE + waiting(CANARY, "ErrImagePull")] * 3),
    ]

    found = [finding for history in histories for finding in find_triggers(history, (), CRITERIA, START)]

    assert [finding.criterion for finding in found] == ["pods"] * 4
