"""The load-test validation flow, called plainly, on a real service."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.loadtest import USUAL, load_test_validation
from loadtest.profile import validate_profile
from rollout.errors import PlanError
from tests.unit.loadtest.service import serving
from wiring.load_test import reports_folder, shortfall


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


def test_the_form_begins_with_a_test_that_can_pass_and_wants_a_rate():
    assert shortfall(USUAL) == ""
    with pytest.raises(PlanError, match="profile: rate: missing"):
        load_test_validation.fn(validate_profile({"url": "http://127.0.0.1:9/"}))


def test_tests_that_begin_in_the_same_second_have_folders_of_their_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)

    folders = [reports_folder(None) for _ in range(20)]

    assert len({folder.resolve() for folder in folders}) == 20
    assert all(folder.is_dir() for folder in folders)
