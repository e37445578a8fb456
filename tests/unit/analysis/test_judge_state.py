"""A judge's state that the version before saved is read as it was meant."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from analysis.judge import Judge, JudgeState, dump_state, load_state
from analysis.scrapes.samples import Samples
from rollout.model import Outcome
from rollout.plan import parse_plan, validate_plan

SAVED = (Path(__file__).parent / "judge_state_v4.json").read_text(encoding="utf-8")
"""Written by version 4 after 20 scrapes of a canary with two ratios and a gauge of its own; see `JUDGE`."""
CHECKOUTS = {"name": "failed checkouts", "events": "failures_total", "total": "checkouts_total", "worse": "higher"}
GOOD = {"name": "good", "events": "good_total", "total": "checkouts_total", "worse": "lower"}
MEMORY = {"name": "memory", "metric": "memory_bytes", "rollback_above": "512Mi", "for": "30s"}
PLAN = parse_plan(Path("rollout.yaml").read_text(encoding="utf-8")).model_dump(mode="json")
OWN = {"ratios": [CHECKOUTS, GOOD], "gauges": [MEMORY]}
JUDGE = Judge.for_plan(validate_plan(PLAN | {"criteria": PLAN["criteria"] | OWN}))


@pytest.fixture(name="state")
def saved_state() -> JudgeState:
    return load_state(SAVED)


def test_a_state_of_version_4_gives_the_evidence_that_version_4_saw(state: JudgeState) -> None:
    look = JUDGE.look(state, Samples(), canary_share=0.2, now=datetime.fromtimestamp(100, UTC))

    assert look.verdict.outcome is Outcome.INCONCLUSIVE
    assert look.verdict.rollback_evidence == pytest.approx(-9.682933193322183)
    assert look.verdict.promotion_evidence == pytest.approx(0.0)


def test_a_state_of_version_4_goes_on_from_its_counts(state: JudgeState) -> None:
    saved = json.loads(SAVED)["evidence"]

    assert state.evidence.stable_ratios.ravel().tolist() == saved["ratio_law"]["values"]
    assert state.evidence.dispersion_sums.jumps.ravel().tolist() == saved["scatter"]["jumps"]["values"]
    assert state.split.configured == 0.2
    assert state.last_canary_request == 100.0
    assert [level.gauge for level in state.gauges.levels] == ["memory", "memory"]


def test_a_state_of_version_4_is_saved_with_the_names_of_today(state: JudgeState) -> None:
    text = dump_state(state)

    assert json.loads(text)["version"] == 5
    assert "split" not in json.loads(text)["evidence"]
    assert dump_state(load_state(text)) == text


def test_a_canary_goes_silent_as_seen_from_a_state_of_version_4(state: JudgeState) -> None:
    late = datetime.fromtimestamp(100, UTC) + timedelta(minutes=5)

    verdict = JUDGE.look(state, Samples(), canary_share=0.2, now=late).verdict

    assert "the last sample is 5 min old" in verdict.reason
