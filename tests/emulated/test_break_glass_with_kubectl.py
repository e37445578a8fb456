"""The emergency rollback with the real kubectl, before, during and after a rollout."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from backends.cluster.environment import World
from backends.route_patches import abort_of, epoch_of
from rollout.events import EndState
from rollout.model import AT_REST, Track, Weights
from tests.emulated.rollouts import Rollout
from tests.emulated.server import ADMIN, EmulatedCluster
from tests.emulated.shipped import ROOT

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")


class BreakGlass:
    """The script, as a person runs it."""

    def __init__(self, server: EmulatedCluster, folder: Path) -> None:
        server.anonymous = ADMIN
        self._environment = os.environ | {"KUBECONFIG": str(server.kubeconfig(folder)), "KUBECACHEDIR": str(folder)}

    def pull(self, *options: str) -> str:
        script = [str(ROOT / "manifests/break-glass/rollback.sh"), "--drain", "0", *options]
        done = subprocess.run(["/bin/sh", *script], env=self._environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def break_glass(server: EmulatedCluster, tmp_path: Path) -> BreakGlass:
    return BreakGlass(server, tmp_path)


def test_pulled_twice_it_leaves_all_traffic_on_stable_and_no_canary(cluster: World, break_glass: BreakGlass) -> None:
    cluster.workloads.scale(Track.CANARY, 2)
    cluster.router.set_weights(Weights.with_canary(50))

    break_glass.pull()
    break_glass.pull()

    assert cluster.router.read_weights() == AT_REST
    assert {pod.track for pod in cluster.workloads.pods()} == {Track.STABLE}


def test_a_dry_run_says_what_it_would_do_and_changes_nothing(
    cluster: World, server: EmulatedCluster, break_glass: BreakGlass
) -> None:
    cluster.router.set_weights(Weights.with_canary(50))
    before = {key: one["metadata"]["resourceVersion"] for key, one in server.store.objects.items()}

    said = break_glass.pull("--dry-run")

    assert "would: kubectl" in said
    assert {key: one["metadata"]["resourceVersion"] for key, one in server.store.objects.items()} == before


def test_a_rollout_that_it_interrupts_notices_and_ends_as_rolled_back(
    cluster: World, break_glass: BreakGlass, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollout = Rollout(cluster, monkeypatch)
    rollout.when("introduce", 2, lambda: break_glass.pull("--reason", "checkout is down"))

    rollout.carry_out()

    document = cluster.router.read()
    assert rollout.record.ended.state is EndState.ROLLED_BACK
    assert rollout.record.ended.reason == "aborted by kubectl: checkout is down"
    assert (epoch_of(document), abort_of(document)) == (2, "checkout is down")
    assert cluster.router.read_weights() == AT_REST
    assert {pod.track for pod in cluster.workloads.pods()} == {Track.STABLE}
