"""The judge: what the samples say of the canary, at every scrape and as often as one likes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import zip_longest

import numpy as np
import numpy.typing as npt

from analysis.evidence import kernel
from analysis.evidence.blocks import CANARY, STABLE, Bools, Limits, Path
from analysis.evidence.gauges import observe_gauges
from analysis.evidence.judge_state import JudgeState, LatestEvidence, dump_state, load_state, with_edges
from analysis.evidence.split import observe_split, restarted_monitor
from analysis.scrapes.increments import Scrapes
from analysis.scrapes.reading import Cursor, read_scrapes
from analysis.scrapes.samples import Samples
from analysis.verdict import verdict
from analysis.verdict.counts import Baseline, baseline_of, readings, scrape_readings
from analysis.verdict.kernel_inputs import are_counted, block_of, impossible_scrapes, limits_of
from rollout.criteria import RatioCriterion
from rollout.model import Basis, Track, Verdict
from rollout.plan import RolloutPlan

__all__ = ["Baseline", "Judge", "JudgeState", "Look", "Replay", "dump_state", "load_state", "no_data"]

Floats = npt.NDArray[np.float64]

AHEAD = 5.0
"""Seconds by which a sample's time may be ahead of ours, as clocks differ."""
_BLOCK = 512
"""Scrapes that go through the kernel at once: enough to be fast, little enough to stay in memory."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at new samples gave."""

    state: JudgeState
    verdict: Verdict
    readings: dict[str, float]


@dataclass(frozen=True, slots=True)
class Replay:
    """What the judge would have said after each scrape of a recording, (T,) each."""

    time: Floats
    rollback: Floats
    """Log evidence against the canary."""
    promotion: Floats
    """Log evidence of the weakest promotion criterion."""
    fails: npt.NDArray[np.bool_]
    """Whether the canary is to be rolled back at this scrape, or was at one before."""
    passes: npt.NDArray[np.bool_]
    """Whether the evidence alone allows promotion at this scrape."""


@dataclass(frozen=True, slots=True)
class Judge:
    """The rules of one plan. Immutable: all that changes is in the `JudgeState`."""

    plan: RolloutPlan
    limits: Limits

    @classmethod
    def for_plan(cls, plan: RolloutPlan) -> Judge:
        """Return the judge of a plan."""
        return cls(plan, limits_of(plan))

    @property
    def against(self) -> Track:
        """What the canary is compared with: stable, or a fresh copy of it as the baseline track."""
        return Track(self.plan.compare_with)

    @property
    def ratios(self) -> tuple[RatioCriterion, ...]:
        """The further ratios that the canary is compared by."""
        return self.plan.criteria.ratios

    def without_ratios(self) -> Judge:
        """Return the judge of errors and latency alone, for simulated traffic, which has nothing else."""
        criteria = self.plan.criteria.model_copy(update={"ratios": ()})
        plan = self.plan.model_copy(update={"criteria": criteria})
        return Judge(plan, replace(self.limits, answers=0, answers_decide=False))

    @property
    def rollback_needed(self) -> float:
        """The log evidence at which a canary is rolled back."""
        return self.limits.rollback_needed

    @property
    def promotion_needed(self) -> float:
        """The log evidence that every promotion criterion has to reach."""
        return self.limits.promotion_needed

    def begin(self) -> JudgeState:
        """Return the state before anything was seen."""
        return JudgeState(evidence=kernel.blank(1, (math.inf,), 1 + len(self.ratios) + self.limits.answers))

    def read(self, cursor: Cursor, samples: Samples, *, against: Track | None = None) -> tuple[Scrapes, Cursor]:
        """Return what the new samples counted of the two tracks that are compared."""
        counters = tuple(name for ratio in self.ratios for name in (ratio.events, ratio.total))
        errors = self.plan.criteria.errors.grpc
        return read_scrapes(cursor, samples, against=against or self.against, extra=counters, grpc_errors=errors)

    def learn(self, state: JudgeState, samples: Samples) -> tuple[JudgeState, dict[str, float]]:
        """Return the state after samples of stable alone, from before the canary has traffic, and what they counted."""
        scrapes, cursor = self.read(state.cursor, samples, against=Track.STABLE)
        state = replace(state, gauges=observe_gauges(state.gauges, self.plan.criteria.gauges, samples))
        if self.against is not Track.STABLE:
            # The baseline's own counters are new to the reader.
            cursor = Cursor(counters=cursor.counters, edges=cursor.edges)
        return self.learn_scrapes(replace(state, cursor=cursor), scrapes), scrape_readings(scrapes)

    def learn_scrapes(self, state: JudgeState, scrapes: Scrapes) -> JudgeState:
        """Return the state after increments of stable alone; see `learn`."""
        state = with_edges(state, scrapes.edges)
        if not len(scrapes):
            return state
        counts = (scrapes.requests, scrapes.errors, scrapes.sums, scrapes.latency.sum(axis=-1))
        sums = tuple(old + float(new[:, STABLE].sum()) for old, new in zip(state.baseline, counts, strict=True))
        block = block_of(self.ratios, scrapes, np.zeros(len(scrapes)), answers=self.limits.answers)
        evidence = kernel.learn(state.evidence, block)
        return replace(state, evidence=evidence, baseline=(sums[0], sums[1], sums[2], sums[3]))

    def learn_parts(self, state: JudgeState, parts: Sequence[Scrapes]) -> JudgeState:
        """Return the state after parts of the history, oldest first, which the baseline check does not count."""
        for part in parts:
            state = replace(self.learn_scrapes(state, part), baseline=state.baseline)
        return state

    def baseline(self, state: JudgeState) -> Baseline:
        """Return how stable did before the canary had traffic, held against the plan's healthy limits."""
        return baseline_of(self.limits, state)

    def look(
        self,
        state: JudgeState,
        samples: Samples,
        *,
        canary_share: float,
        now: datetime,
        pods_ready: bool = True,
    ) -> Look:
        """Return the verdict with these samples added to the evidence.

        Parameters
        ----------
        state
            What was known before.
        samples
            Samples that were read before are dropped, and so are those of a time to come.
        canary_share
            The configured weight of the canary, 0-1. A new one begins a new step: promotion evidence starts again,
            rollback evidence never does.
        now
            The present moment.
        pods_ready
            Whether all wanted pods of both tracks are ready.
        """
        samples = samples.between(-math.inf, now.timestamp() + AHEAD)
        scrapes, cursor = self.read(state.cursor, samples)
        state = replace(state, gauges=observe_gauges(state.gauges, self.plan.criteria.gauges, samples))
        state = with_edges(replace(state, cursor=cursor), scrapes.edges)
        since = state.ready_since if not math.isnan(state.ready_since) else now.timestamp()
        state = replace(state, ready_since=since if pods_ready else math.nan)
        for start in range(0, len(scrapes), _BLOCK):
            part = scrapes[start : start + _BLOCK]
            state, _, _ = self._advance(state, part, np.full(len(part), canary_share))
        outcome = self.verdict(state, canary_share=canary_share, now=now.timestamp())
        return Look(state, outcome, readings(self.limits, self.ratios, state, scrapes, outcome))

    def replay(self, state: JudgeState, scrapes: Scrapes, shares: Floats) -> tuple[JudgeState, Replay]:
        """Return the state after recorded scrapes, and what the evidence said after each.

        Parameters
        ----------
        state
            The state after the history was learnt.
        scrapes
            The recording's increments.
        shares
            (T,) the canary's configured share at each scrape.
        """
        state, failed_before = with_edges(state, scrapes.edges), state.latest.peak >= self.rollback_needed
        paths = []
        for start in range(0, len(scrapes), _BLOCK):
            part = slice(start, start + _BLOCK)
            state, path, counted = self._advance(state, scrapes[part], shares[part])
            paths.append((path.rollback[:, 0], path.promotion[:, 0].min(axis=-1), self.allows(path)[:, 0] & counted))
        rollback, promotion, allowed = (
            (np.concatenate(column) for column in zip(*paths, strict=True))
            if paths
            else (np.zeros(0), np.zeros(0), np.zeros(0, dtype=bool))
        )
        fails = np.logical_or.accumulate(rollback >= self.rollback_needed) | failed_before
        return state, Replay(scrapes.time, rollback, promotion, fails, ~fails & allowed)

    def allows(self, path: Path) -> Bools:
        """Return whether the evidence alone allows promotion after each scrape of a path (T, N)."""
        suffices = path.promotion.min(axis=-1) >= self.promotion_needed
        return np.asarray(suffices & (path.rollback < verdict.UNTROUBLED) & ~path.common)

    def _advance(self, state: JudgeState, scrapes: Scrapes, shares: Floats) -> tuple[JudgeState, Path, Bools]:
        """Return the state after the scrapes, the evidence on the way, and at which of them a promotion is possible."""
        block = block_of(self.ratios, scrapes, shares, answers=self.limits.answers)
        skipped = impossible_scrapes(self.ratios, scrapes).sum(axis=0).tolist()
        counted = are_counted(state, block.totals[:, 0, : 1 + len(self.ratios)])
        evidence, path = kernel.advance(self.limits, state.evidence, block)
        with_requests = scrapes.time[scrapes.requests[:, CANARY] > 0]
        last_canary_request = float(with_requests[-1]) if len(with_requests) else state.last_canary_request
        if math.isnan(last_canary_request):
            last_canary_request = float(scrapes.time[0])
        configured = np.array([self.plan.compared_share(share) for share in shares.tolist()])
        split, wrong = observe_split(
            state.split, time=scrapes.time, span=scrapes.span, requests=scrapes.requests, configured=configured
        )
        state = replace(
            state,
            evidence=evidence,
            latest=LatestEvidence.after(path, scrapes, state.latest.peak),
            last_canary_request=last_canary_request,
            skipped_scrapes=tuple(map(sum, zip_longest(state.skipped_scrapes, skipped, fillvalue=0))),
            split=split,
        )
        return state, path, counted & ~wrong

    def notes(self, state: JudgeState) -> tuple[str, ...]:
        """Return what is worth knowing and no evidence of anything: what the buckets cannot show, what was left out."""
        return tuple(finding.reason for finding in verdict.notes_of(self.plan, self.limits, state))

    def verdict(self, state: JudgeState, *, canary_share: float, now: float, replayed: bool = False) -> Verdict:
        """Return what the evidence so far says; see `analysis.verdict.verdict`."""
        return verdict.verdict_of(self.plan, self.limits, state, canary_share=canary_share, now=now, replayed=replayed)


def with_promotion_restarted(state: JudgeState) -> JudgeState:
    """Return the state with the evidence for promotion begun again, as when the canary has become another one.

    The evidence against it goes on: an e-process that is restarted at will keeps no promise.
    """
    names = ("promotion", "pending", "step_requests", "step_errors", "step_sums", "step_latency")
    blank = {name: np.zeros_like(getattr(state.evidence, name)) for name in names}
    return replace(state, evidence=replace(state.evidence, **blank))


def with_split_restarted(state: JudgeState) -> JudgeState:
    """Return the state with the monitor of the split restarted, as when the split is known to differ from the plan."""
    return replace(state, split=restarted_monitor(state.split))


def no_data(judge: Judge, state: JudgeState, basis: Basis, reason: str) -> Verdict:
    """Return the verdict when there was nothing to read: inconclusive, with that as its reason."""
    return verdict.no_data(judge.limits, state, basis, reason)
