"""The load-test validation flow, called plainly, on a real service."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.loadtest import load_test_validation
from loadtest.profile import validate_profile
from rollout.errors import PlanError
from tests.unit.loadtest.service import serving


def test_the_flow_ends_with_the_verdict_and_leaves_all_four_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with serving(tmp_path) as url:
        state = load_test_validation.fn(validate_profile({"url": f"{url}/bad", "rate": 100, "duration": "2s"}))

    assert (state.name, state.is_failed()) == ("Failed", True)
    assert "errors in 200 requests" in (state.message or "")
    (folder,) = (tmp_path / ".canary/loadtests").iterdir()
    assert {path.name for path in folder.iterdir()} >= {"report.html", "result.json", "junit.xml", "summary.md"}


def test_without_a_url_and_a_gateway_that_runs_here_the_flow_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(PlanError, match="--url: missing"):
        load_test_validation.fn(validate_profile({"rate": 100}))
