from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rollout.model import Finding, Pod, Track
from rollout.plan import parse_plan
from rollout.ports import Signal, SignalKind
from rollout.triggers import PodHistory, find_triggers, observe

CRITERIA = parse_plan((Path(__file__).parents[3] / "rollout.yaml").read_text()).criteria
START = datetime(2026, 1, 5, 9, tzinfo=UTC)
STABLE = tuple(Pod(f"v1-{number}", Track.STABLE, ready=True) for number in range(3))
CANARY = tuple(Pod(f"v2-{number}", Track.CANARY, ready=True) for number in range(3))


def seen(*looks: tuple[Pod, ...], every: timedelta = timedelta(seconds=5)) -> PodHistory:
    history = PodHistory()
    for number, pods in enumerate(looks):
        history = observe(history, pods, now=START + number * every, within=CRITERIA.pods.within)
    return history


def triggers(history: PodHistory, *signals: Signal) -> list[str]:
    found: tuple[Finding, ...] = find_triggers(history, signals, CRITERIA, START)
    return [finding.reason for finding in found]


def restarted(pods: tuple[Pod, ...], number: int, times: int) -> tuple[Pod, ...]:
    return tuple(replace(pod, restarts=times) if index == number else pod for index, pod in enumerate(pods))


def test_healthy_pods_trigger_nothing() -> None:
    assert triggers(seen(*[STABLE + CANARY] * 5)) == []


def test_two_restarts_of_one_canary_pod_are_a_crash_loop() -> None:
    history = seen(STABLE + CANARY, STABLE + restarted(CANARY, 1, 1), STABLE + restarted(CANARY, 1, 2))

    assert triggers(history) == ["crash loop: pod v2-1 restarted 2 times in 5 min"]


def test_two_restarts_between_two_looks_count_as_two() -> None:
    assert triggers(seen(STABLE + CANARY, STABLE + restarted(CANARY, 0, 2))) != []


def test_a_drain_that_takes_several_pods_once_each_is_no_crash_loop() -> None:
    drained = tuple(replace(pod, restarts=1) for pod in CANARY)

    assert triggers(seen(STABLE + CANARY, STABLE + drained)) == []


def test_when_stable_restarts_too_it_is_not_the_canarys_fault() -> None:
    history = seen(STABLE + CANARY, restarted(STABLE, 0, 1) + restarted(CANARY, 1, 2))

    assert triggers(history) == []


def test_restarts_from_before_the_rollout_do_not_count() -> None:
    assert triggers(seen(STABLE + restarted(CANARY, 0, 7), STABLE + restarted(CANARY, 0, 7))) == []


def test_restarts_far_apart_are_no_crash_loop() -> None:
    looks = [STABLE + restarted(CANARY, 0, times) for times in (0, 1, 2)]

    assert triggers(seen(*looks, every=timedelta(minutes=6))) == []


def test_a_canary_that_was_ready_and_is_no_more_is_unavailable_after_three_scrapes() -> None:
    gone = tuple(replace(pod, ready=False) for pod in CANARY)

    assert triggers(seen(CANARY, gone, gone)) == []
    assert triggers(seen(CANARY, gone, gone, gone)) == ["canary unavailable: no pod ready for 3 scrapes"]


def test_a_canary_that_is_still_starting_is_not_unavailable() -> None:
    starting = tuple(replace(pod, ready=False) for pod in CANARY)

    assert triggers(seen(*[STABLE + starting] * 10)) == []


def test_a_persons_abort_comes_first() -> None:
    word = Signal(SignalKind.ABORT, "wrong build", "ann", START)
    crashed = seen(STABLE + CANARY, STABLE + restarted(CANARY, 1, 2))

    assert triggers(crashed, word)[0] == "aborted by ann: wrong build"


def waiting(pods: tuple[Pod, ...], reason: str) -> tuple[Pod, ...]:
    return tuple(replace(pod, ready=False, waiting=reason, cannot_start=True) for pod in pods)


def test_a_canary_that_cannot_start_is_told_after_three_looks_and_not_before() -> None:
    stuck = STABLE + CANARY[:2] + waiting(CANARY[2:], "ImagePullBackOff")

    assert triggers(seen(STABLE + CANARY, stuck, stuck)) == []
    assert triggers(seen(STABLE + CANARY, stuck, stuck, stuck)) == [
        "canary cannot start: ImagePullBackOff for 3 scrapes"
    ]


def test_a_pull_that_succeeds_after_all_is_forgotten() -> None:
    stuck = STABLE + waiting(CANARY, "ErrImagePull")

    assert triggers(seen(stuck, stuck, STABLE + CANARY, stuck)) == []


def test_images_that_stable_cannot_pull_either_are_not_the_canarys_fault() -> None:
    stuck = waiting(STABLE, "ImagePullBackOff") + waiting(CANARY, "ImagePullBackOff")

    assert triggers(seen(*[stuck] * 5)) == []


def test_a_canary_pod_that_is_killed_for_its_memory_is_a_reason_at_once() -> None:
    (first, *others) = restarted(CANARY, 0, 1)
    starved = (replace(first, out_of_memory=True), *others)

    assert triggers(seen(STABLE + CANARY, STABLE + starved)) == [
        f"out of memory: pod {first.name} was killed (OOMKilled)"
    ]


def test_a_canary_whose_memory_ran_out_before_the_rollout_or_along_with_stables_is_not_blamed() -> None:
    before = (replace(CANARY[0], restarts=1, out_of_memory=True), *CANARY[1:])
    both = tuple(replace(pod, restarts=1, out_of_memory=True) for pod in STABLE + CANARY)

    assert triggers(seen(STABLE + before, STABLE + before)) == []
    assert triggers(seen(STABLE + CANARY, both)) == []


def test_pods_that_the_platform_cannot_make_are_told_after_three_looks() -> None:
    history = PodHistory()
    for number in range(3):
        assert triggers(history) == []
        now = START + timedelta(seconds=number)
        history = observe(history, STABLE, now=now, within=timedelta(minutes=5), trouble="FailedCreate: exceeded quota")

    assert triggers(history) == ["canary cannot start: FailedCreate: exceeded quota for 3 scrapes"]
