"""The rules that keep a bad canary from promotion and a good one from rollback, each on its line."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from analysis.evidence.blocks import NEVER
from analysis.evidence.blocks import Path as EvidencePath
from analysis.judge import Judge, JudgeState
from rollout.model import Outcome, Verdict
from rollout.plan import parse_plan
from tests.unit.analysis.frames import Traffic, frame_of, samples_of

PLAN = parse_plan(Path("rollout.yaml").read_text(encoding="utf-8"))
JUDGE = Judge.for_plan(PLAN)
NOW = 600.0
ENOUGH = math.log(20)
"""beta = 5 %: what each promotion criterion needs."""
LINE = -math.log(0.01)
"""alpha = 1 %: the evidence against the canary at which it is rolled back."""


@pytest.fixture(scope="module")
def healthy() -> JudgeState:
    """A canary of ten minutes, about which nothing is wrong; what the evidence says is then set by each test."""
    frame = frame_of(Traffic(rps=100, error_ratio=0.0, scrapes=120), 1)
    state, _ = JUDGE.learn(JUDGE.begin(), samples_of(frame[frame["time"] <= 0]))
    state = replace(state, ready_since=0.0)
    now = datetime.fromtimestamp(0, UTC) + timedelta(seconds=NOW)
    state = JUDGE.look(state, samples_of(frame[frame["time"] > 0]), canary_share=0.2, now=now).state
    return replace(state, latest=replace(state.latest, rollback=-2.0, peak=0.5, promotion=(ENOUGH,) * 4, common=False))


def verdict_of(state: JudgeState, **latest: object) -> Verdict:
    state = replace(state, latest=replace(state.latest, **latest))
    return JUDGE.verdict(state, canary_share=0.2, now=NOW)


def path_of(rollback: list[float], promotion: list[float], *, common: bool = False) -> EvidencePath:
    size = len(rollback)
    flat, flags = np.array(rollback)[:, None], np.zeros((size, 1), dtype=bool)
    shown = np.tile(np.array(promotion), (size, 1))[:, None]
    return EvidencePath(flat, np.full((size, 1, 4), NEVER), flat, flags, flags, shown, ~flags, flags | common)


def test_a_canary_is_promoted_when_each_criterion_is_shown_and_nothing_speaks_against_it(healthy: JudgeState) -> None:
    assert verdict_of(healthy).outcome is Outcome.PASS


@pytest.mark.parametrize(("against", "outcome"), [(0.999, Outcome.PASS), (1.0, Outcome.INCONCLUSIVE)])
def test_no_canary_is_promoted_while_the_evidence_against_it_is_e_or_more(
    healthy: JudgeState, against: float, outcome: Outcome
) -> None:
    """Promotion asks for rollback evidence below e, whose log is 1."""
    assert verdict_of(healthy, rollback=against, peak=against).outcome is outcome
    assert JUDGE.allows(path_of([against], [ENOUGH] * 4)).item() is (outcome is Outcome.PASS)


def test_evidence_against_the_canary_that_is_gone_keeps_it_from_nothing(healthy: JudgeState) -> None:
    assert verdict_of(healthy, rollback=-1.0, peak=3.0).outcome is Outcome.PASS


@pytest.mark.parametrize("lacking", range(4))
def test_no_canary_is_promoted_while_one_criterion_lacks_evidence(healthy: JudgeState, lacking: int) -> None:
    promotion = tuple(ENOUGH - 1e-6 if index == lacking else 20.0 for index in range(4))

    assert verdict_of(healthy, promotion=promotion).outcome is Outcome.INCONCLUSIVE
    assert not JUDGE.allows(path_of([-2.0], list(promotion))).item()


def test_no_canary_is_promoted_while_stable_breaks_a_rollback_limit_itself(healthy: JudgeState) -> None:
    assert verdict_of(healthy, common=True).outcome is Outcome.INCONCLUSIVE
    assert not JUDGE.allows(path_of([-2.0], [20.0] * 4, common=True)).item()


def test_no_canary_is_promoted_before_its_pods_were_ready_for_long_enough(healthy: JudgeState) -> None:
    assert verdict_of(replace(healthy, ready_since=NOW - 200)).outcome is Outcome.INCONCLUSIVE
    assert verdict_of(replace(healthy, ready_since=math.nan)).outcome is Outcome.INCONCLUSIVE
    assert verdict_of(replace(healthy, ready_since=NOW - 280)).outcome is Outcome.PASS


@pytest.mark.parametrize(("peak", "outcome"), [(LINE - 1e-6, Outcome.PASS), (LINE, Outcome.FAIL), (9.0, Outcome.FAIL)])
def test_a_canary_is_rolled_back_once_the_evidence_has_reached_one_in_alpha(
    healthy: JudgeState, peak: float, outcome: Outcome
) -> None:
    """Ville's inequality holds for the greatest value: what the evidence has become since does not matter."""
    assert verdict_of(healthy, peak=peak).outcome is outcome


def test_a_rollback_names_the_evidence_that_reached_the_line(healthy: JudgeState) -> None:
    verdict = verdict_of(healthy, peak=5.0)

    assert verdict.rollback_evidence == 5.0
    assert verdict.findings[0].outcome is Outcome.FAIL
    assert verdict.findings[0].log_evidence == 5.0
    assert verdict.rollback_needed == pytest.approx(LINE)


def test_a_replay_rolls_back_at_the_line_and_promotes_nothing_after_it() -> None:
    frame = frame_of(Traffic(canary_errors=0.05, scrapes=60), 1)
    scrapes, _ = JUDGE.read(JUDGE.begin().cursor, samples_of(frame))
    began = int((scrapes.time <= 0).sum())
    state = JUDGE.learn_scrapes(JUDGE.begin(), scrapes[:began])

    _, replay = JUDGE.replay(state, scrapes[began:], np.full(len(scrapes) - began, 0.2))

    first = int((replay.rollback >= LINE).argmax())
    assert replay.rollback.max() >= LINE
    assert not replay.fails[:first].any()
    assert replay.fails[first:].all()
    assert not replay.passes[first:].any()


@pytest.mark.parametrize(("configured", "is_promotable"), [(0.3, True), (0.15, False)])
def test_a_replay_promotes_nothing_while_the_traffic_is_not_split_as_configured(
    configured: float, is_promotable: bool
) -> None:
    frame = frame_of(Traffic(rps=200, share=0.3, error_ratio=0.0, scrapes=240), 1)
    scrapes, _ = JUDGE.read(JUDGE.begin().cursor, samples_of(frame))
    began = int((scrapes.time <= 0).sum())
    state = JUDGE.learn_scrapes(JUDGE.begin(), scrapes[:began])

    _, replay = JUDGE.replay(state, scrapes[began:], np.full(len(scrapes) - began, configured))

    assert not replay.fails.any()
    assert bool(replay.passes[-1]) is is_promotable
