"""Rollouts with load of their own on the real parts, and a thread that meddles with them."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

import backends.local.environment as local
from flows.canary import canary_rollout
from loadtest.runner import LoadRun, steady_spec
from rollout.errors import RolloutError
from rollout.events import (
    Alarm,
    Ended,
    WeightsObserved,
)
from rollout.plan import RolloutPlan, parse_plan
from rollout.record import RolloutRecord
from wiring.composition import Target

REAL_RATE = 20.0
PLAN = parse_plan("""
service: canary-app
stable: {version: v1, replicas: 2}
canary: {version: v2}
baseline: {observe: 10s}
steps:
  - {name: introduce, canary: 30%, replicas: 1, bake: 25s, deadline: 4m}
criteria:
  errors: {healthy_below: 1%, rollback_above: 5%}
  success: {healthy_above: 98%}
  latency: {statistic: mean, healthy_below: 200ms, rollback_above: 500ms}
scrape: 1s
warm_up: 3s
load: {mode: top-up, ceiling: 150}
""")


@dataclass
class Scene:
    """A world under a rollout, and what can be done to it meanwhile."""

    world: local.World
    folder: Path

    @property
    def prometheus(self) -> psutil.Process:
        """The process that runs at present."""
        return psutil.Process(self.prometheus_pids[0])

    @property
    def prometheus_pids(self) -> list[int]:
        """Its process ids, none while it is being started again."""
        return [child.pid for child in self.world.folder.processes().children if child.name == "prometheus"]

    @property
    def load(self) -> psutil.Process:
        """The rollout's own Locust, which is told from that of the real traffic by its folder."""
        own = [child for child in psutil.Process().children() if "canary-load-" in _folder_of(child)]
        return own[0]

    def record(self) -> RolloutRecord:
        return self.world.ledger("r").read()

    def wait(self, condition: Callable[[RolloutRecord], bool], *, seconds: float = 240.0) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                record = self.record()
            except RolloutError:
                time.sleep(0.2)
                continue  # it has not begun yet
            if condition(record):
                return
            if record.ended is not None:
                raise AssertionError(f"it ended before what was waited for: {record.ended.reason}")
            time.sleep(0.2)
        raise TimeoutError("waited in vain")

    def wait_in_step(self, requests: int) -> None:
        """Return once the step's split was seen, and so many requests of it were judged."""
        self.wait(lambda record: bool(record.of(WeightsObserved)))
        judged = self.judged()
        self.wait(lambda _: self.judged() > judged + requests)

    def judged(self) -> int:
        """How many requests the judge has counted since the rollout began."""
        series = self.record().series
        return round(
            sum(point.mean * point.count for track in ("stable", "canary") for point in series[f"{track}.requests"])
        )


def _folder_of(process: psutil.Process) -> str:
    try:
        return process.cwd()
    except psutil.Error:
        return ""


@contextmanager
def rolled_out(folder: Path, meddle: Callable[[Scene], None], plan: RolloutPlan = PLAN) -> Iterator[Scene]:
    """Carry a rollout out beside some real traffic, with a thread that meddles; both have ended for the body."""
    world = local.start(folder / "state", plan=plan, scrape=plan.scrape, seed=1, owner_pid=os.getpid())
    scene, failed = Scene(world, folder), list[BaseException]()
    real = LoadRun(steady_spec(world.gateway_url, REAL_RATE), folder / "real")

    def meddling() -> None:
        try:
            meddle(scene)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=meddling, daemon=True)
    try:
        real.start()
        thread.start()
        canary_rollout.fn(plan, Target(state=folder / "state"), rollout_id="r", waits_for_person=False)
        thread.join()
        if failed:
            raise failed[0]
        yield scene
    finally:
        thread.join(timeout=5)
        real.stop()
        with_stopped(scene, signal.SIGCONT)
        world.stop()


def with_stopped(scene: Scene, number: signal.Signals) -> None:
    """Send Prometheus a signal."""
    scene.prometheus.send_signal(number)


def alarms(record: RolloutRecord) -> list[str]:
    return [event.what for event in record.of(Alarm)]


def reasons(record: RolloutRecord) -> list[str]:
    verdicts = record.verdicts()
    return [finding.reason for verdict in verdicts for finding in verdict.findings]


def ended(record: RolloutRecord) -> Ended:
    assert record.ended is not None
    return record.ended
