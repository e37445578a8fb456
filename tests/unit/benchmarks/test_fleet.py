from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from backends.local import environment as local
from backends.local.folder import DesiredState, StateFolder
from benchmarks.fleet import lateness, most_at_once, service_plan
from benchmarks.gateways import Gateway, lay_out
from rollout.model import Track

NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


def after(*seconds: float) -> list[datetime]:
    return [NOON + timedelta(seconds=one) for one in seconds]


def test_a_tick_that_never_came_makes_the_next_one_late() -> None:
    assert lateness(after(0, 5, 10.5, 20), timedelta(seconds=5)) == [0.0, 0.5, 4.5]


def test_ticks_at_one_instant_are_counted_in_any_order() -> None:
    assert most_at_once(after(7, 0, 5.0, 5.09, 5.04, 5.2)) == 3


def test_an_emulated_gateway_counts_no_request_twice_and_none_for_a_track_without_traffic(tmp_path: Path) -> None:
    plan = service_plan(1, "30s")
    lay_out(tmp_path, plan)
    folder = StateFolder(tmp_path)
    gateway = Gateway(folder, folder.settings(), 100.0, 1, np.random.default_rng(1), port=1)
    gateway.counted_to -= 10

    gateway.count(DesiredState(replicas={Track.STABLE: 3, Track.CANARY: 1}))

    totals = {pod: int(counts[-1]) for (_, pod), counts in gateway.buckets.items()}
    assert set(totals) == {f"service-001-v1-{number}" for number in range(3)}
    assert abs(sum(totals.values()) - 1000) < 3 * 1000**0.5
    exposed = gateway.answer("/stats/prometheus").splitlines()
    whole = next(line for line in exposed if line.startswith("istio_requests_total") and "source" in line)
    assert int(whole.split()[-1]) >= 1000 - 3 * 1000**0.5


def test_the_pods_that_were_asked_for_are_reported(tmp_path: Path) -> None:
    plan = service_plan(1, "30s")
    lay_out(tmp_path, plan)
    folder = StateFolder(tmp_path)
    gateway = Gateway(folder, folder.settings(), 100.0, 1, np.random.default_rng(1), port=1)
    gateway.report()

    local.attach(tmp_path).workloads.scale(Track.CANARY, 2)
    gateway.report()

    assert sum(pod.track is Track.CANARY for pod in local.attach(tmp_path).workloads.pods()) == 2
