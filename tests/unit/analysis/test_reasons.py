"""What findings tell people."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.evidence.blocks import Limits
from analysis.judge import Judge
from analysis.verdict.blockers import common_mode
from analysis.verdict.counts import Counts
from rollout.plan import parse_plan

LIMITS: Limits = Judge.for_plan(parse_plan((Path(__file__).parents[3] / "demo.yaml").read_text())).limits
"""Errors 1 %, mean latency 500 ms."""
FINE = Counts(100, 0, 20.0, 400, 0, 20.0)


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (
            replace(FINE, canary_latency=4731.2, stable_latency=8024.0),
            (
                "mean latency 4,730 ms on the canary and 8,020 ms on stable, limit 500 ms; both tracks suffer, "
                "so it is not the canary's fault"
            ),
        ),
        (
            replace(FINE, stable_errors=20),
            (
                "errors 0 % on the canary and 5 % on stable, limit 1 %; stable breaks the limit itself, "
                "so nothing is promoted until it does no more"
            ),
        ),
        (
            replace(FINE, canary_latency=math.nan, stable_latency=612.5),
            (
                "mean latency unknown on the canary and 612 ms on stable, limit 500 ms; stable breaks the limit "
                "itself, so nothing is promoted until it does no more"
            ),
        ),
    ],
)
def test_a_limit_that_stable_breaks_is_told_in_whole_numbers_and_blames_only_who_breaks_it(
    now: Counts, reason: str
) -> None:
    assert common_mode(now, LIMITS).reason == f"common mode: {reason}"
