"""What the plan's own metrics have to show before they are compared."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.evidence.blocks import CANARY, Bools, Floats
from analysis.evidence.gauges import canary_levels
from analysis.evidence.judge_state import JudgeState
from analysis.scrapes.increments import Scrapes
from analysis.verdict.blockers import missing, note
from rollout.criteria import Criteria, RatioCriterion
from rollout.model import Basis, Finding, Track
from rollout.plan import RolloutPlan


def odd_scrapes(ratios: tuple[RatioCriterion, ...], scrapes: Scrapes) -> Bools:
    """Return which scrapes (T, K) counted more events of a ratio than there could have been, on either track."""
    if not ratios:
        return np.zeros((len(scrapes), 0), dtype=bool)
    events, totals = scrapes.extra[..., 0 : 2 * len(ratios) : 2], scrapes.extra[..., 1 : 2 * len(ratios) : 2]
    return np.asarray((events > totals).any(axis=1))


def are_counted(state: JudgeState, totals: Floats) -> Bools:
    """Return whether every ratio has been counted on both tracks by the end of each scrape (T,).

    Parameters
    ----------
    state
        What was known before.
    totals
        (T, K, 2) what errors and each of the user's own ratios is taken of.
    """
    if totals.shape[1] == 1:  # errors alone
        return np.ones(len(totals), dtype=bool)
    own = slice(1, totals.shape[1])
    canary, stable = state.evidence.total_ratios[0, own, 1, CANARY], state.evidence.ratio_law[0, own, 1]
    counted = np.cumsum(totals[:, own], axis=0) + np.stack([canary, stable], axis=-1)
    return np.asarray((counted > 0).all(axis=(1, 2)))


def uncounted(plan: RolloutPlan, state: JudgeState) -> Iterator[Finding]:
    """Yield a finding for each of the plan's own metrics that there is nothing to judge by."""
    seen = {(metric, track == Track.CANARY) for track, _, metric, *_ in state.cursor.known.last}
    evidence, criteria = state.evidence, plan.criteria
    for index, ratio in enumerate(criteria.ratios):
        counted = {True: evidence.total_ratios[0, 1 + index, 1, CANARY], False: evidence.ratio_law[0, 1 + index, 1]}
        for is_canary, total in counted.items():
            where = "the canary" if is_canary else plan.compare_with
            if total > 0:
                continue
            if (ratio.total, is_canary) not in seen:
                yield missing(Basis.SERIES_ABSENT, f"{ratio.name}: no series {ratio.total} of {where}", ratio.name)
            else:
                nothing = f"{ratio.name}: {ratio.total} of {where} has counted nothing"
                yield missing(Basis.NO_TRAFFIC, nothing, ratio.name)
    for gauge in criteria.gauges:
        if not canary_levels(state.gauges, gauge):
            yield missing(Basis.SERIES_ABSENT, f"{gauge.name}: no series {gauge.metric} of the canary", gauge.name)


def odd_notes(criteria: Criteria, state: JudgeState) -> Iterator[Finding]:
    """Yield a note for each ratio of which scrapes were left out."""
    for ratio, scrapes in zip(criteria.ratios, state.odd, strict=False):
        if scrapes:
            said = f"{ratio.name}: {scrapes} scrapes left out, {ratio.events} grew by more than {ratio.total} in them"
            yield note(ratio.name, said)
