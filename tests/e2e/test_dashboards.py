"""The shipped dashboard and rules, asked of the Prometheus of a real drill, which gives errors, and a real rollout."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from backends.local.ledger import LocalLedger
from rollout.events import StepStarted
from tests.e2e.runs import CANARY, ROOT
from tests.e2e.upstage import PLAN
from tests.unit.manifests.monitored import dashboard_queries, recorded, selectors, spelt_out

pytestmark = pytest.mark.e2e
SEEN_WITHIN = 240.0
GUARD_WAS_SCRAPED_TWICE = "count_over_time(canary_guard_last_look_timestamp_seconds[1m]) >= 2"


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service whose rollback was drilled, with a rollout in its second step and a guard; where its Prometheus is."""
    folder = tmp_path_factory.mktemp("up")
    state, plan, started = folder / "state", str(folder / "plan.yaml"), list[subprocess.Popen[bytes]]()
    steps = [
        {"name": "introduce", "canary": "20%", "replicas": 1, "bake": "5s", "deadline": "10m"},
        {"name": "full", "canary": "100%", "replicas": 3, "bake": "1h", "deadline": "2h"},
    ]
    Path(plan).write_text(yaml.safe_dump(PLAN | {"steps": steps}))

    def start(*words: str) -> None:
        with (folder / words[0]).open("w") as output:
            command = [CANARY, *words, "--state", str(state)]
            started.append(subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output))

    try:
        start("up", "--plan", plan, "--rate", "150")
        url = _until(lambda: re.search(r"Prometheus (http://\S+)", (folder / "up").read_text()), "nothing is up")[1]
        start("drill", "--plan", plan, "--fault", "errors=50%")
        assert started[-1].wait(SEEN_WITHIN) == 0, (folder / "drill").read_text()
        start("run", "--plan", plan)
        _until(lambda: _in_second_step(state), "no second step")
        start("guard", "--backend", "local", "--every", "1s", "--metrics-port", "0")
        _until(lambda: asked(url, GUARD_WAS_SCRAPED_TWICE), "the guard is not scraped")
        yield url
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(timeout=60)


def _in_second_step(state: Path) -> bool:
    records = [LocalLedger(folder).read() for folder in state.glob("rollouts/*/")]
    return any(len(record.of(StepStarted)) == 2 for record in records)


def _until(condition: Callable[[], Any], complaint: str) -> Any:
    until = time.monotonic() + SEEN_WITHIN
    while not (found := condition()):
        assert time.monotonic() < until, complaint
        time.sleep(0.5)
    return found


def asked(prometheus: str, query: str) -> list[object]:
    answer = httpx.get(f"{prometheus}/api/v1/query", params={"query": query}, timeout=10).json()
    assert answer["status"] == "success", f"{query}: {answer}"
    found: list[object] = answer["data"]["result"]
    return found


def test_every_panel_and_annotation_shows_something(prometheus: str) -> None:
    empty = {title for title, query in dashboard_queries() if not asked(prometheus, query)}

    assert empty == set()


def test_every_recorded_series_and_every_alert_speaks_of_series_that_exist(prometheus: str) -> None:
    missing = [name for name, expression in recorded().items() if not asked(prometheus, spelt_out(expression))]
    absent = [selector for selector in sorted(selectors()) if not asked(prometheus, selector)]

    assert (missing, absent) == ([], [])


def test_the_dashboard_finds_the_service(prometheus: str) -> None:
    [service] = asked(prometheus, "count by (service) (canary_rollout_info)")

    assert "canary-app" in json.dumps(service)
