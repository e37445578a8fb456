"""A dry run tells what would be done, and touches nothing: the embedded backend before and after, byte by byte."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import backends.local.environment as local
from analysis.offline.traces import read_trace
from benchmarks.simulated.families import Family
from benchmarks.simulated.simulator import simulate
from benchmarks.simulated.trace_writer import write_trace
from flows.canary import canary_rollout
from rollout.plan import RolloutPlan, parse_plan
from tests.flows.prometheus_server import serving
from wiring.dry_run import rehearse
from wiring.target import Target

PLAN = parse_plan((Path(__file__).parents[2] / "demo.yaml").read_text())
RPS = 60


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[local.World]:
    folder = tmp_path_factory.mktemp("state")
    world = local.start(folder, plan=PLAN, scrape=PLAN.scrape, seed=1, owner_pid=os.getpid())
    yield world
    world.stop()


def asked_of(world: local.World) -> dict[str, Any]:
    """Return all that was ever asked of the world, and what is in force."""
    folder = world.folder.path
    return {
        "files": {file.name: file.read_bytes() for file in (folder / "desired.json", *folder.glob("lock.json"))},
        "routes": {str(f): f.read_bytes() for f in sorted((folder / "gateway").rglob("*")) if f.is_file()},
        "weights": world.router.read_weights(),
        "pods": {(pod.name, pod.track) for pod in world.workloads.pods()},
        "rollouts": world.rollouts(),
    }


def test_a_dry_run_tells_each_step_with_its_time_and_changes_nothing(world: local.World) -> None:
    target = Target(state=world.folder.path)
    before = asked_of(world)

    state = canary_rollout.fn(PLAN, target, dry_run=True)
    lines = rehearse(PLAN, target)

    assert asked_of(world) == before
    assert (state.name, state.message) == ("Dry run", "nothing was touched")
    assert "at 0 s: v1 alone is watched for 15 s" in lines
    assert any(line.startswith("at 15 s: introduce: 1 pod of v2, 20 % of the traffic") for line in lines)
    assert any(line.startswith("at 1 min 25 s: promoted at the earliest") for line in lines)


def test_a_dry_run_says_what_would_be_refused(tmp_path: Path) -> None:
    lines = rehearse(PLAN, Target(state=tmp_path))

    assert any("it would be refused now: embedded backend" in line for line in lines)
    assert list(tmp_path.iterdir()) == []


def hooked() -> RolloutPlan:
    url = "https://hooks.example/canary"
    hooks = [
        {"name": "ticket", "when": "before-rollout", "url": url, "on_failure": "hold"},
        {"name": "migrate", "when": "before-step", "steps": ["introduce"], "command": ["./migrate.sh", "all at once"]},
        {"name": "smoke", "when": "after-step", "command": ["pytest"]},
        {"name": "last-word", "when": "before-promote", "url": url},
        {"name": "purge", "when": "after-promote", "url": url},
        {"name": "sorry", "when": "after-rollback", "url": url},
    ]
    return RolloutPlan.model_validate(PLAN.model_dump(mode="json") | {"hooks": hooks})


def test_a_dry_run_tells_each_hook_at_its_moment_with_what_it_does_and_what_its_failure_means(tmp_path: Path) -> None:
    lines = rehearse(hooked(), Target(state=tmp_path))

    told = [line for line in lines if ": hook " in line]
    post = "POST https://hooks.example/canary"
    assert told == [
        f"at 0 s: hook ticket, before-rollout: {post}; on_failure: hold",
        "at 15 s: hook migrate, before-step introduce: ./migrate.sh 'all at once'; on_failure: rollback",
        *(
            f"at {moment}: hook smoke, after-step {step}: pytest; on_failure: rollback"
            for moment, step in (("45 s", "introduce"), ("1 min 5 s", "increase"), ("1 min 25 s", "full"))
        ),
        f"at 1 min 25 s: hook last-word, before-promote: {post}; on_failure: rollback",
        f"at 1 min 25 s: hook purge, after-promote: {post}; on_failure: ignore",
        f"after a rollback: hook sorry, after-rollback: {post}; on_failure: ignore",
    ]
    order = [next(index for index, line in enumerate(lines) if part in line) for part in ("ticket", "v1 alone")]
    assert order == sorted(order)
    assert lines.index(told[1]) + 1 == next(i for i, line in enumerate(lines) if "introduce: 1 pod" in line)


@pytest.mark.parametrize(("kind", "name"), [("VirtualService", "canary-app"), ("HTTPRoute", "canary-app-stable")])
def test_on_a_cluster_the_traffic_is_that_of_the_services_own_namespace_and_of_its_tracks(
    tmp_path: Path, kind: Any, name: str
) -> None:
    path, kubeconfig = tmp_path / "live.csv", tmp_path / "kubeconfig"
    family = Family("live", rps=RPS, error_ratio=0.002, duration=60.0, scrape=15.0, steps=((0.0, 0.2),))
    write_trace(simulate(family, runs=1, seed=1, history=1800.0), 0, path)
    named = {
        "clusters": [{"name": "none", "cluster": {"server": "http://127.0.0.1:9"}}],
        "contexts": [{"name": "none", "context": {"cluster": "none", "user": "none"}}],
        "users": [{"name": "none", "user": {}}],
    }
    kubeconfig.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "current-context": "none"} | named))
    services = [
        {"destination_service_namespace": namespace, "destination_service_name": name}
        for namespace in ("canary-app", "elsewhere")
    ]

    with serving(read_trace(path), time.time() + 30, *services) as server:  # so that stable alone has been scraped
        target = Target(backend="cluster", kubeconfig=kubeconfig, prometheus=server.url, kind=kind)
        (told,) = [line for line in rehearse(PLAN, target) if line.startswith("at the traffic of the last hour")]

    (rate,) = re.findall(r"\(([\d.]+) requests/s", told)
    assert float(rate) == pytest.approx(RPS, rel=0.05)
