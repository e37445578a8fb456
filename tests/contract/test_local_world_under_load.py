"""What users of the embedded gateway see while it is steered, and what the pods' own fault switch does."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from backends.local.environment import World, attach
from backends.local.loopback import request
from rollout.errors import ConflictError, NoSamplesError, PlanError, SetupError, UnavailableError
from rollout.model import AT_REST, Track, Weights
from tests.contract.steady_load import SteadyLoad

pytestmark = pytest.mark.e2e


def wait(condition: Callable[[], bool], *, seconds: float = 15) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def ready(world: World, track: Track) -> int:
    return sum(pod.ready for pod in world.workloads.pods() if pod.track is track)


def wait_for_canary(world: World, pods: int) -> bool:
    return wait(lambda: [pod.ready for pod in world.workloads.pods() if pod.track is Track.CANARY] == [True] * pods)


@contextmanager
def canary(world: World, *, pods: int, percent: int) -> Iterator[None]:
    """A canary with traffic, taken away afterwards."""
    world.workloads.scale(Track.CANARY, pods)
    assert wait_for_canary(world, pods)
    world.router.set_weights(Weights.with_canary(percent))
    try:
        yield
    finally:
        world.router.set_weights(AT_REST)
        world.inject(None, None)
        world.workloads.scale(Track.CANARY, 0)
        assert wait(lambda: len(world.workloads.pods()) == ready(world, Track.STABLE) == 3, seconds=20)


def test_no_request_fails_while_weights_change_all_the_time(local_world: World) -> None:
    draw = random.Random(5)

    with canary(local_world, pods=2, percent=20), SteadyLoad(local_world.gateway_url, rps=400) as load:
        for _ in range(100):
            local_world.router.set_weights(Weights.with_canary(draw.randrange(101)))
            time.sleep(0.02)

    assert load.failed == 0
    assert load.total > 300
    assert {track for _, track in load.answers} == {"stable", "canary"}


def test_no_request_fails_while_tracks_grow_and_shrink(local_world: World) -> None:
    with canary(local_world, pods=1, percent=40), SteadyLoad(local_world.gateway_url, rps=400) as load:
        for replicas in (3, 1, 2):
            local_world.workloads.scale(Track.CANARY, replicas)
            assert wait_for_canary(local_world, replicas)

    assert load.failed == 0
    assert load.total > 200


def test_injected_errors_come_from_the_canary_alone_and_stop_when_their_time_is_over(local_world: World) -> None:
    with canary(local_world, pods=1, percent=50), SteadyLoad(local_world.gateway_url, rps=200) as load:
        local_world.inject(Track.CANARY, "errors=50%", timedelta(seconds=2))
        time.sleep(2.5)
        during = load.answers.copy()
        time.sleep(1)
        after = load.answers - during

    assert during[500, "canary"] > 20
    assert during[500, "stable"] == 0
    assert after[500, "canary"] == 0
    assert after[200, "canary"] > 20


def test_an_outage_hits_both_tracks(local_world: World) -> None:
    with canary(local_world, pods=1, percent=50), SteadyLoad(local_world.gateway_url, rps=200) as load:
        local_world.inject(None, "outage", timedelta(seconds=2))
        assert wait(lambda: min(load.answers[500, "canary"], load.answers[500, "stable"]) > 5)


def test_a_pod_that_is_added_later_has_its_tracks_fault_too(local_world: World) -> None:
    with canary(local_world, pods=1, percent=100):
        local_world.inject(Track.CANARY, "errors=100%")
        local_world.workloads.scale(Track.CANARY, 2)
        assert wait(lambda: ready(local_world, Track.CANARY) == 2)
        time.sleep(0.3)

        with SteadyLoad(local_world.gateway_url, rps=100, connections=10) as load:
            time.sleep(0.7)

    assert set(load.answers) == {(500, "canary")}


def test_a_fault_that_is_put_in_while_a_pod_starts_is_not_lost(local_world: World) -> None:
    local_world.workloads.scale(Track.CANARY, 1)
    assert wait(lambda: len(local_world.workloads.pods()) == 4)
    local_world.inject(Track.CANARY, "errors=100%")

    with canary(local_world, pods=1, percent=100):
        time.sleep(0.3)
        with SteadyLoad(local_world.gateway_url, rps=100, connections=10) as load:
            time.sleep(0.5)

    assert set(load.answers) == {(500, "canary")}


def test_a_crash_loop_is_restarted_with_growing_pauses_and_is_over_when_the_fault_is(local_world: World) -> None:
    with canary(local_world, pods=1, percent=0):
        local_world.inject(Track.CANARY, "crash-loop")

        def pod() -> tuple[int, str]:
            (one,) = [pod for pod in local_world.workloads.pods() if pod.track is Track.CANARY]
            return one.restarts, one.waiting

        assert wait(lambda: pod() == (2, "CrashLoopBackOff"))
        local_world.inject(Track.CANARY, None)
        assert wait(lambda: ready(local_world, Track.CANARY) == 1)
        assert pod() == (3, "")


def test_a_stable_pod_that_is_killed_comes_back(local_world: World) -> None:
    victim = local_world.folder.observed().pods[0]

    os.kill(victim.pid, signal.SIGKILL)

    assert wait(lambda: local_world.workloads.pods()[0].restarts == 1)
    assert wait(lambda: ready(local_world, Track.STABLE) == 3)
    assert local_world.folder.observed().pods[0].name == victim.name


def test_the_gateway_can_be_steered_while_the_supervisor_does_nothing(local_world: World) -> None:
    supervisor = local_world.observed.supervisor
    with canary(local_world, pods=1, percent=50):
        os.kill(supervisor, signal.SIGSTOP)
        try:
            attach(local_world.folder.path).router.set_weights(AT_REST)
            assert local_world.router.read_weights() == AT_REST
            time.sleep(2.6)
            with pytest.raises(UnavailableError, match="last report"):
                local_world.workloads.pods()
        finally:
            os.kill(supervisor, signal.SIGCONT)
        assert wait(lambda: local_world.folder.observed().at > time.time() - 1)


def test_the_canary_can_be_asked_for_by_header_and_the_fault_switch_cannot_be_reached(local_world: World) -> None:
    with canary(local_world, pods=1, percent=0), httpx.Client(base_url=local_world.gateway_url) as user:
        asked = user.get("/", headers={"x-canary": "always"})
        other = user.get("/")
        switch = user.post("/-/fault", json={"fault": "errors=100%"})

    assert asked.headers["x-canary-pod"] == "canary-app-v2-0"
    assert (asked.headers["x-canary-track"], asked.headers["x-canary-version"]) == ("canary", "v2")
    assert other.headers["x-canary-track"] == "stable"
    assert switch.status_code == 404


def test_a_track_without_pods_shows_as_requests_of_an_unknown_version(local_world: World) -> None:
    began = datetime.now(UTC)
    local_world.router.set_weights(Weights.with_canary(50))
    with SteadyLoad(local_world.gateway_url, rps=50, connections=5) as load:
        assert wait(lambda: load.answers[503, ""] > 10)
        assert wait(lambda: "unknown" in _tracks(local_world, began))
    local_world.router.set_weights(AT_REST)

    assert load.answers[200, "stable"] > 0


def _tracks(world: World, began: datetime) -> set[str]:
    try:
        return {series.track for series in world.metrics.read(began).series}
    except NoSamplesError:
        return set()


def test_what_cannot_be_is_refused_by_name(local_world: World, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"fault: got 'nonsense', allowed"):
        local_world.inject(Track.CANARY, "nonsense")
    with pytest.raises(PlanError, match="baseline"):
        local_world.workloads.scale(Track.BASELINE, 1)
    with pytest.raises(PlanError, match="rollout: got"):
        local_world.ledger("../elsewhere")
    with pytest.raises(SetupError, match="no local world there"):
        attach(tmp_path)


def test_weights_that_somebody_else_replaces_at_once_are_a_conflict(
    local_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = attach(local_world.folder.path).router

    def replaced(*args: object, **kwargs: object) -> bool:
        monkeypatch.undo()
        other.set_weights(AT_REST)
        return False

    monkeypatch.setattr("backends.local.router.wait_applied", replaced)
    with pytest.raises(ConflictError, match="was replaced by"):
        local_world.router.set_weights(Weights.with_canary(20))

    assert local_world.router.read_weights() == AT_REST


def test_a_full_disk_does_not_keep_the_traffic_from_stable(local_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    local_world.router.set_weights(Weights.with_canary(50))

    def full(file: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for room in ("router", "lease"):
        monkeypatch.setattr(f"backends.local.{room}.write_atomically", full)

    with pytest.raises(UnavailableError, match=r"set canary=20 .* No space left on device"):
        local_world.router.set_weights(Weights.with_canary(20))
    for _ in range(2):  # as `canary restore` does, and the owner after it
        local_world.router.seize(AT_REST)
        assert local_world.router.read_weights() == AT_REST


def test_copies_of_live_requests_reach_the_canary_and_nobody_sees_its_answers(local_world: World) -> None:
    def copied() -> int:
        answer = request(
            local_world.observed.admin_port, "/stats?format=json&filter=cluster.canary.upstream_rq_total", seconds=1
        )
        return sum(int(one["value"]) for one in json.loads(answer)["stats"] if "value" in one)

    with canary(local_world, pods=1, percent=0), SteadyLoad(local_world.gateway_url, rps=200) as load:
        before = copied()
        local_world.router.set_mirror(50)
        assert wait(lambda: copied() - before >= 100)
        assert local_world.router.read_weights() == AT_REST
        local_world.router.set_mirror(0)
        ended = copied()
        time.sleep(0.5)

        assert copied() - ended <= 5  # those that were under way
    assert {track for _, track in load.answers} == {"stable"}
    assert load.failed == 0
