"""`canary drill` on the real parts, with users beside it: Envoy, Prometheus, Locust."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backends.local.environment import World, attach
from backends.local.loopback import request
from rollout.errors import SetupError
from rollout.model import AT_REST, Track
from tests.contract.steady_load import SteadyLoad
from tests.e2e.runs import CANARY, ROOT
from wiring.guard_watch import ALL_WELL

pytestmark = pytest.mark.e2e


class Service:
    """`canary up`, and what is typed beside it."""

    def __init__(self, state: Path) -> None:
        self.state = state
        command = [CANARY, "up", "--plan", "demo.yaml", "--rate", "0", "--state", str(state)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        self.world = self._attached()

    def _attached(self) -> World:
        until = time.monotonic() + 60
        while True:
            try:
                return attach(self.state)
            except SetupError:
                assert self.process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.2)

    def command(self, *words: str) -> list[str]:
        plan = [] if words[0] == "guard" else ["--plan", "demo.yaml"]
        return [CANARY, words[0], *words[1:], *plan, "--state", str(self.state)]

    def types(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*words), cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)

    def asked_of_canary(self) -> int:
        """How many requests Envoy has sent to the canary's pods, by its cluster's own counter."""
        answer = request(
            self.world.observed.admin_port, "/stats?format=json&filter=cluster.canary.upstream_rq_total", seconds=1
        )
        return sum(int(one["value"]) for one in json.loads(answer)["stats"] if "value" in one)

    def routes(self) -> str:
        return request(
            self.world.observed.admin_port, "/config_dump?resource=dynamic_route_configs", seconds=1
        ).decode()

    def end(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = Service(tmp_path_factory.mktemp("up") / "state")
    try:
        yield running
    finally:
        running.end()


def test_the_chain_fires_under_load_and_users_get_none_of_it(service: Service) -> None:
    before = service.asked_of_canary()
    with SteadyLoad(service.world.gateway_url, rps=60, connections=12) as users:
        done = service.types("drill", "--fault", "errors=30%", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        preflight = service.types("preflight")

    drilled: dict[str, Any] = json.loads(done.stdout)
    assert drilled["proven"], drilled
    assert list(drilled["seconds"]) == [
        *("judged", "decided", "route taken back", "seen in the traffic", "recorded", "notice sent")
    ]
    # Envoy's own count of what it sent to the canary is what the load generator's marked requests got from it.
    assert service.asked_of_canary() - before == drilled["marked"] == drilled["counted"] > 0
    assert {track for _, track in users.answers} == {"stable"}
    assert users.failed == 0
    assert service.world.router.read_weights() == AT_REST
    assert "x-canary-drill" not in service.routes()
    assert "errors=30%: proven, route taken back" in preflight.stdout


def test_a_drill_that_was_killed_is_cleaned_up_by_the_guard(service: Service) -> None:
    with SteadyLoad(service.world.gateway_url, rps=60, connections=12) as users:
        # Too slight a fault to be found soon: there is time to kill it.
        killed = subprocess.Popen(service.command("drill", "--fault", "latency=+1%"), cwd=ROOT, env=os.environ)
        until = time.monotonic() + 60
        while "x-canary-drill" not in service.routes():
            assert killed.poll() is None
            assert time.monotonic() < until
            time.sleep(0.1)
        killed.kill()
        killed.wait()

        guard, again = service.types("guard", "--once"), service.types("guard", "--once")

    assert guard.returncode == 0, guard.stderr
    assert "rolled back: its owner was gone" in guard.stdout
    assert ALL_WELL in again.stdout
    assert "x-canary-drill" not in service.routes()
    assert not service.world.folder.desired().faults
    assert service.world.folder.desired().replicas[Track.CANARY] == 0
    assert {track for _, track in users.answers} == {"stable"}
    assert users.failed == 0


def test_a_drill_is_refused_while_a_rollout_is_under_way(service: Service) -> None:
    before, lock = service.asked_of_canary(), service.world.lock("r1 by ada")
    lock.acquire()

    try:
        done = service.types("drill")
    finally:
        lock.release()

    assert done.returncode == 2
    assert "steered by r1 by ada" in done.stderr
    assert service.asked_of_canary() == before
