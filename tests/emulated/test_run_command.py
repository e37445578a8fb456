"""`canary run` and `canary preflight` as a person types them, on an emulated cluster with traffic in real time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from backends.cluster.api.client import DESTINATION_RULES, VIRTUAL_SERVICES, Api
from backends.cluster.environment import World
from rollout.events import Ended, EndState, Started
from rollout.model import AT_REST, Track, Weights
from rollout.plan import parse_plan
from rollout.record import parse_record
from tests.emulated.mesh import Mesh
from tests.emulated.server import EmulatedCluster
from tests.emulated.shipped import ROOT

CANARY = Path(sys.executable).parent / "canary"
NOWHERE = "http://127.0.0.1:9/api"


class Terminal:
    """Where the commands are typed: a folder with a plan, and the environment that names cluster and Prometheus."""

    def __init__(self, folder: Path, kubeconfig: Path, mesh: Mesh) -> None:
        self.folder, self.mesh = folder, mesh
        self.environment = os.environ | {
            "KUBECONFIG": str(kubeconfig),
            "CANARY_PROMETHEUS": mesh.url,
            "PREFECT_API_URL": NOWHERE,
            "PREFECT_HOME": str(folder / "prefect"),
        }
        self.plan_text = ""
        """The plan's text, where it is not made of `plan`; written once, and left to the commands."""
        self.plan = yaml.safe_load((ROOT / "demo.yaml").read_text()) | {"baseline": {"observe": "3s"}}
        self.plan["steps"] = [step | {"bake": "2s", "deadline": "60s"} for step in self.plan["steps"]]

    def keeps_files(self) -> None:
        """Let the resting routes lie beside the plan, and the plan with all its comments."""
        shutil.copytree(ROOT / "istio", self.folder / "istio")
        self.plan_text = (ROOT / "rollout.yaml").read_text()

    def types(self, *words: str) -> subprocess.CompletedProcess[str]:
        file = self.folder / "rollout.yaml"
        if not (self.plan_text and file.exists()):
            file.write_text(self.plan_text or yaml.safe_dump(self.plan))
        return subprocess.run(
            [CANARY, *words], cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )


@pytest.fixture
def terminal(server: EmulatedCluster, cluster: World, tmp_path: Path) -> Iterator[Terminal]:
    with Mesh(server, cluster.settings.destinations, scrape=timedelta(seconds=1)) as mesh:
        mesh.metrics.rps = 5000.0
        assert cluster.settings.kubeconfig is not None
        yield Terminal(tmp_path, cluster.settings.kubeconfig, mesh)


def test_a_release_is_promoted_by_one_command_though_prefect_does_not_answer(
    terminal: Terminal, cluster: World
) -> None:
    done = terminal.types("run", "--record", "record.json", "--report", "report.html")

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Prefect does not answer, the rollout goes on without it: {NOWHERE}" in done.stdout
    record = parse_record((terminal.folder / "record.json").read_text())
    assert record.started is not None
    assert (record.started.backend, record.started.plan.service) == ("cluster", "canary-app")
    assert "canary-app" in (terminal.folder / "report.html").read_text()
    assert sum(pod.ready for pod in cluster.workloads.pods() if pod.track is Track.CANARY) == 3


def test_a_worse_release_is_rolled_back_by_one_command(terminal: Terminal, cluster: World) -> None:
    terminal.mesh.metrics.behaviour[Track.CANARY].errors = 0.05

    done = terminal.types("run", "--name", "r1")

    assert done.returncode == 3, done.stdout + done.stderr
    assert "rolled back: " in done.stdout
    assert cluster.router.read_weights() == AT_REST
    assert [pod for pod in cluster.workloads.pods() if pod.track is Track.CANARY] == []


def test_a_release_that_preflight_refuses_touches_nothing(
    terminal: Terminal, server: EmulatedCluster, admin: Api
) -> None:
    server.rules = [rule for rule in server.rules if "leases" not in rule["resources"]]
    before = {key: one["metadata"]["resourceVersion"] for key, one in server.store.objects.items()}

    done = terminal.types("run")

    assert done.returncode == 2
    assert "not started, nothing was touched: preflight found 2 things to mend" in done.stderr
    assert "permission leases.coordination.k8s.io: may not get, create, patch" in done.stderr
    assert {key: one["metadata"]["resourceVersion"] for key, one in server.store.objects.items()} == before
    assert "Traceback" not in done.stderr
    assert admin.get(VIRTUAL_SERVICES, "canary-app")["metadata"].get("annotations") is None


def test_preflight_is_a_checklist_with_a_fix_for_each_miss(terminal: Terminal, server: EmulatedCluster) -> None:
    fit = terminal.types("preflight")
    server.store.delete("destinationrules", "canary-app", "canary-app")
    unfit = terminal.types("preflight", "--json")

    assert (fit.returncode, unfit.returncode) == (0, 2)
    assert "✓ subset stable: selects version v1; the plan says v1" in fit.stdout
    said = json.loads(unfit.stdout)
    (miss,) = [check for check in said["checks"] if not check["ok"]]
    assert said["ok"] is False
    assert (miss["name"], "istio/" in miss["found"]) == ("subsets", True)


def test_a_name_that_was_used_up_is_refused_before_any_of_its_old_record_is_shown(
    terminal: Terminal, cluster: World
) -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    plan, ledger = parse_plan(yaml.safe_dump(terminal.plan)), cluster.ledger("old")
    ledger.append(Started(at=noon, rollout="old", plan=plan, who="ada", backend="cluster"))
    ledger.append(Ended(at=noon, state=EndState.PROMOTED, reason="all criteria are met"))

    done = terminal.types("run", "--name", "old")

    refused = "canary: rollout old: promoted at 2026-01-01 12:00:00 UTC, allowed: a name that no rollout has had\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", refused)


def test_a_clusters_option_is_refused_on_the_embedded_backend(terminal: Terminal) -> None:
    done = terminal.types("run", "--backend", "local", "--namespace", "shop")

    assert done.returncode == 2
    assert done.stderr == "canary: --namespace: got 'shop' with --backend local, allowed: with --backend cluster only\n"


def test_after_a_promotion_the_files_at_rest_are_written_ready_to_commit(
    terminal: Terminal, cluster: World, admin: Api
) -> None:
    terminal.keeps_files()
    rule = terminal.folder / "istio" / "destination-rule.yaml"
    before = (rule.read_text(), terminal.plan_text)
    early = terminal.types("promote", "--write")
    cluster.router.set_weights(Weights.with_canary(100))
    terminal.mesh.await_traffic(Track.CANARY)

    adopted, unwritten = terminal.types("promote"), _misses(terminal)
    written = terminal.types("promote", "--write")
    admin.patch(DESTINATION_RULES, "canary-app", {"spec": yaml.safe_load(rule.read_text())["spec"]})

    assert (early.returncode, early.stderr) == (
        2,
        "canary: promote --write: stable means v1 on the cluster, allowed: v2\n",
    )
    assert (adopted.returncode, written.returncode) == (0, 0), adopted.stderr + written.stderr
    assert "stable is v1, on the cluster v2" in unwritten["resting files"]["found"]
    assert rule.read_text() == before[0].replace(": v2}", ": v3}").replace(": v1}", ": v2}")
    plan = (terminal.folder / "rollout.yaml").read_text()
    assert plan.splitlines()[2:4] == ["stable: {version: v2, replicas: 3}", "canary: {version: v3}"]
    assert plan.splitlines()[4:] == before[1].splitlines()[4:]
    left = _misses(terminal)
    assert set(left) == {"canary", "stable pods"}, left  # no image of v3 was named, and v2 has no pods here


def _misses(terminal: Terminal) -> dict[str, dict[str, str]]:
    misses = json.loads(terminal.types("preflight", "--json").stdout)
    return {check["name"]: check for check in misses["checks"] if not check["ok"]}
