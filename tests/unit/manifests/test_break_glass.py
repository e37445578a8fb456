"""The emergency rollback, on a kubectl that keeps its state in a file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from backends.route_patches import ABORT, EPOCH
from tests.unit.manifests import fake_kubectl
from tests.unit.manifests.kustomized import ISTIO, MANIFESTS, OVERLAYS, documents

SCRIPT = MANIFESTS / "break-glass" / "rollback.sh"
ROUTE = "virtualservices.networking.istio.io/canary-app"
HTTP_ROUTE = "httproutes.gateway.networking.k8s.io/canary-app"
SUBSETS = "destinationrules.networking.istio.io/canary-app"


@dataclass
class Cluster:
    """The objects that the script sees, and what it says."""

    folder: Path

    @property
    def _file(self) -> Path:
        return self.folder / "state.json"

    def put(self, objects: dict[str, Any], *, faults: tuple[str, ...] = ()) -> None:
        self._file.write_text(json.dumps({"objects": objects, "faults": faults, "calls": []}))

    def roll_back(self, *options: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": f"{self.folder}:{os.environ['PATH']}", fake_kubectl.STATE: str(self._file)}
        command = [str(SCRIPT), "--drain", "0", *options]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)

    @property
    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._file.read_text())
        return found

    @property
    def objects(self) -> dict[str, Any]:
        found: dict[str, Any] = self.state["objects"]
        return found

    @property
    def changes(self) -> list[str]:
        verbs = [call.split() for call in self.state["calls"]]
        return [f"{words[0]} {words[1]}" for words in verbs if words[0] in ("patch", "scale")]

    def weights(self, rule: int = 2) -> list[int]:
        return [to["weight"] for to in self.objects[ROUTE]["spec"]["http"][rule]["route"]]

    def replicas(self, version: str) -> int:
        count: int = self.objects[f"deployment/canary-app-{version}"]["spec"]["replicas"]
        return count


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    program = tmp_path / "kubectl"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -SE {fake_kubectl.__file__} "$@"\n')
    program.chmod(0o755)
    cluster = Cluster(tmp_path)
    cluster.put(at_the_50_step())
    (tmp_path / "sleep").write_text("#!/bin/sh\n")  # the pauses between tries are not what is tested
    (tmp_path / "sleep").chmod(0o755)
    return cluster


def at_the_50_step() -> dict[str, Any]:
    [route] = documents(ISTIO / "virtual-service-canary-50.yaml")
    [subsets] = documents(ISTIO / "destination-rule.yaml")
    return {
        ROUTE: versioned(route),
        SUBSETS: versioned(subsets),
        "deployment/canary-app-v1": deployment(3),
        "deployment/canary-app-v2": deployment(3),
    }


def versioned(document: dict[str, Any]) -> dict[str, Any]:
    document["metadata"]["resourceVersion"] = "41"
    return document


def deployment(replicas: int, *, ready: int | None = None, broken: bool = False) -> dict[str, Any]:
    metadata = {"resourceVersion": "7"}
    status = {"readyReplicas": replicas if ready is None else ready}
    return {"metadata": metadata, "spec": {"replicas": replicas}, "status": status, "broken": broken}


def test_a_rollback_brings_all_live_traffic_to_stable_and_then_scales_the_canary_down(cluster: Cluster) -> None:
    done = cluster.roll_back()

    assert done.returncode == 0, done.stderr
    assert cluster.weights() == [100, 0]
    assert (cluster.replicas("v1"), cluster.replicas("v2")) == (3, 0)
    assert cluster.changes == [f"patch {ROUTE}", "scale deployment/canary-app-v2"]


def test_a_rollback_touches_nothing_in_the_route_but_weights_and_two_annotations(cluster: Cluster) -> None:
    cluster.roll_back()

    [resting] = documents(ISTIO / "virtual-service.yaml")
    assert cluster.objects[ROUTE]["spec"] == resting["spec"]
    assert set(cluster.objects[ROUTE]["metadata"]["annotations"]) == {EPOCH, ABORT}


def test_a_rollback_fences_off_whoever_steers_a_rollout_and_says_why(cluster: Cluster) -> None:
    objects = at_the_50_step()
    objects[ROUTE]["metadata"]["annotations"] = {EPOCH: "7", "team": "shop"}
    cluster.put(objects)

    cluster.roll_back("--reason", 'errors "5%"\\n')

    assert cluster.objects[ROUTE]["metadata"]["annotations"] == {EPOCH: "8", ABORT: "errors 5%n", "team": "shop"}


def test_a_second_rollback_changes_nothing_but_the_epoch(cluster: Cluster) -> None:
    cluster.roll_back()
    first = cluster.objects

    done = cluster.roll_back()

    second = cluster.objects
    assert done.returncode == 0
    assert second[ROUTE]["metadata"]["annotations"][EPOCH] == "2"
    assert second[ROUTE]["spec"] == first[ROUTE]["spec"]
    assert {**second, ROUTE: None} == {**first, ROUTE: None}


def test_a_dry_run_says_what_it_would_do_and_does_nothing(cluster: Cluster) -> None:
    before = cluster.objects

    done = cluster.roll_back("--dry-run")

    assert done.returncode == 0
    assert cluster.objects == before
    assert not cluster.changes
    assert f"would: kubectl -n canary-app patch {ROUTE}" in done.stdout
    assert "would: kubectl -n canary-app scale deployment/canary-app-v2 --replicas=0" in done.stdout


@pytest.mark.parametrize("faults", [("patch",) * 3, ("get",) * 3, ("patch after", "get"), ("scale", "scale after")])
def test_a_shaky_api_server_is_asked_again_until_the_routes_are_seen(cluster: Cluster, faults: tuple[str, ...]) -> None:
    cluster.put(at_the_50_step(), faults=faults)

    done = cluster.roll_back()

    assert cluster.weights() == [100, 0]
    if faults[0] != "get":  # then it could not tell the versions, scaled nothing, and said so
        assert (done.returncode, cluster.replicas("v2")) == (0, 0)
    else:
        assert (done.returncode, cluster.replicas("v2")) == (1, 3)


def test_the_canary_keeps_its_pods_where_the_routes_cannot_be_changed(cluster: Cluster) -> None:
    cluster.put(at_the_50_step(), faults=("patch",) * 99)

    done = cluster.roll_back()

    assert done.returncode == 1
    assert "gave up after 10 tries" in done.stderr
    assert (cluster.weights(), cluster.replicas("v2")) == ([50, 50], 3)


def test_stable_is_brought_up_first_where_none_of_its_pods_is_ready(cluster: Cluster) -> None:
    cluster.put(at_the_50_step() | {"deployment/canary-app-v1": deployment(0)})

    done = cluster.roll_back()

    assert done.returncode == 0, done.stderr
    assert cluster.changes[:2] == ["scale deployment/canary-app-v1", f"patch {ROUTE}"]
    assert cluster.replicas("v1") == 3


def test_no_traffic_is_sent_to_a_stable_that_does_not_come_up_unless_forced(cluster: Cluster) -> None:
    cluster.put(at_the_50_step() | {"deployment/canary-app-v1": deployment(3, ready=0, broken=True)})

    refused = cluster.roll_back("--wait", "0")
    weights_then = cluster.weights()
    forced = cluster.roll_back("--wait", "0", "--force")

    assert (refused.returncode, weights_then) == (1, [50, 50])
    assert "no pod of v1 became ready" in refused.stderr
    assert (forced.returncode, cluster.weights()) == (0, [100, 0])


def test_after_a_promotion_stable_becomes_the_old_version_again(cluster: Cluster) -> None:
    objects = at_the_50_step() | {"deployment/canary-app-v1": deployment(0)}
    [objects[ROUTE]] = [versioned(one) for one in documents(ISTIO / "virtual-service.yaml")]
    objects[SUBSETS]["spec"]["subsets"][0]["labels"]["version"] = "v2"
    cluster.put(objects)

    done = cluster.roll_back("--to", "v1")

    assert done.returncode == 0, done.stderr
    assert cluster.objects[SUBSETS]["spec"]["subsets"][0] == {"name": "stable", "labels": {"version": "v1"}}
    assert (cluster.replicas("v1"), cluster.replicas("v2")) == (3, 0)


def test_after_a_promotion_a_plain_rollback_never_scales_the_serving_version_down(cluster: Cluster) -> None:
    objects = at_the_50_step()
    objects[SUBSETS]["spec"]["subsets"][0]["labels"]["version"] = "v2"
    cluster.put(objects)

    done = cluster.roll_back()

    assert (done.returncode, cluster.replicas("v2")) == (0, 3)


def test_every_rule_that_splits_is_rolled_back_and_other_services_routes_are_left(cluster: Cluster) -> None:
    objects = at_the_50_step()
    http = objects[ROUTE]["spec"]["http"]
    qualified = {"host": "canary-app.canary-app.svc.cluster.local"}
    http.append(
        {"route": [{"destination": qualified | {"subset": name}, "weight": 50} for name in ("canary", "stable")]}
    )
    for host in ("shop", "canary-app.other", "canary-app.other.svc.cluster.local", "canary-app.example.com"):
        http.append(
            {"route": [{"destination": {"host": host, "subset": n}, "weight": 50} for n in ("stable", "canary")]}
        )
    cluster.put(objects)

    done = cluster.roll_back()

    assert done.returncode == 0, done.stderr
    assert [cluster.weights(rule) for rule in range(2, 8)] == [[100, 0], [0, 100], *[[50, 50]] * 4]


def test_a_route_without_a_split_is_an_error_that_names_the_file_to_apply(cluster: Cluster) -> None:
    objects = at_the_50_step()
    del objects[ROUTE]["spec"]["http"][2]
    cluster.put(objects)

    done = cluster.roll_back()

    assert done.returncode == 1
    assert "istio/virtual-service-rollback.yaml" in done.stderr
    assert not cluster.changes


def test_an_http_route_is_rolled_back_by_its_services(cluster: Cluster) -> None:
    [route] = documents(OVERLAYS / "gateway-api" / "http-route.yaml")
    for backend in route["spec"]["rules"][2]["backendRefs"]:
        backend["weight"] = 50
    services = {f"service/canary-app-{track}": track for track in ("stable", "canary")}
    objects = at_the_50_step() | {HTTP_ROUTE: versioned(route)}
    objects |= {
        name: versioned({"metadata": {}, "spec": {"selector": {"version": {"stable": "v1", "canary": "v2"}[track]}}})
        for name, track in services.items()
    }
    cluster.put(objects)

    done = cluster.roll_back("--gateway-api")

    assert done.returncode == 0, done.stderr
    assert [one["weight"] for one in cluster.objects[HTTP_ROUTE]["spec"]["rules"][2]["backendRefs"]] == [100, 0]
    assert (cluster.replicas("v1"), cluster.replicas("v2")) == (3, 0)


@pytest.mark.parametrize("options", [("--what", "x"), ("--to",), ("--replicas", "three"), ("--drain", "-1")])
def test_wrong_options_are_refused_before_anything_is_read(cluster: Cluster, options: tuple[str, ...]) -> None:
    done = cluster.roll_back(*options)

    assert done.returncode == 2
    assert not cluster.state["calls"]


def test_without_kubectl_it_says_so_at_once(cluster: Cluster) -> None:
    shell = shutil.which("sh")
    assert shell

    done = subprocess.run([shell, str(SCRIPT)], env={"PATH": ""}, capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stderr) == (1, "rollback: kubectl is not on the PATH\n")


def test_the_script_is_plain_posix_shell() -> None:
    assert SCRIPT.read_text().startswith("#!/bin/sh\n")
    assert subprocess.run(["sh", "-n", str(SCRIPT)], capture_output=True).returncode == 0


@pytest.mark.skipif(shutil.which("shellcheck", path=Path(sys.executable).parent) is None, reason="no shellcheck here")
def test_shellcheck_finds_nothing_in_the_script() -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")

    found = subprocess.run([shellcheck, "--shell=sh", str(SCRIPT)], capture_output=True, text=True)

    assert not found.stdout
