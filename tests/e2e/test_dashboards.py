"""The shipped dashboard and rules, asked of the Prometheus of a real demo."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from backends.local.ledger import LocalLedger
from rollout.record import StepStarted
from tests.e2e.runs import CANARY, ROOT
from tests.unit.manifests.monitored import dashboard_queries, recorded, selectors, spelt_out

pytestmark = pytest.mark.e2e
SEEN_WITHIN = 150.0


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A demo in its second step, with a guard beside it; where its Prometheus answers."""
    state = tmp_path_factory.mktemp("demo") / "state"
    with (state.parent / "output").open("w") as output:
        demo = subprocess.Popen([CANARY, "demo", "--state", str(state)], cwd=ROOT, stdout=output, stderr=output)
        guard = None
        try:
            _wait_for_second_step(state, demo)
            words = ["guard", "--backend", "local", "--state", str(state), "--every", "1s", "--metrics-port", "0"]
            guard = subprocess.Popen([CANARY, *words], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(12)  # the guard starts, is found, and is scraped more than once
            [url] = re.findall(r"Prometheus (http://\S+)", (state.parent / "output").read_text())
            yield url
        finally:
            for process in (guard, demo):
                if process:
                    process.terminate()
                    process.wait(timeout=60)


def _wait_for_second_step(state: Path, demo: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + SEEN_WITHIN
    while time.monotonic() < until and demo.poll() is None:
        for folder in state.glob("rollouts/*/"):
            if sum(isinstance(event, StepStarted) for event in LocalLedger(folder).read().events) == 2:
                return
        time.sleep(0.5)
    raise AssertionError(f"no second step: {(state.parent / 'output').read_text()}")


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
