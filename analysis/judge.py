"""The judge: what the samples say of the canary, at every scrape and as often as one likes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis import criteria, kernel, promotion, sequential
from analysis.criteria import Counts, Need
from analysis.evidence import CANARY, STABLE, Block, Bools, Limits, Path
from analysis.memory import JudgeState, Shown, dump_state, load_state, with_edges
from analysis.samples import Cursor, Scrapes, read_scrapes
from rollout.model import Basis, Finding, Outcome, Track, Verdict
from rollout.plan import RolloutPlan

__all__ = ["Baseline", "Judge", "JudgeState", "Look", "Ratio", "Replay", "dump_state", "load_state", "no_data"]

Floats = npt.NDArray[np.float64]

READY_FOR = timedelta(minutes=5)
"""How long all pods have to have been ready, unless the bake is shorter."""
SHARE_TOLERANCE = 0.05
"""Part of the smaller share by which the observed one may differ before it is worth an alarm."""
SILENT_SCRAPES = 3
"""Scrapes without a canary request that are an alarm, and scrapes without any sample."""
_UNTROUBLED = 1.0
"""Log evidence for a rollback below which a promotion is allowed."""
_SUSPICIOUS = math.log(10)
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
    """Whether the canary is condemned at this scrape or was before."""
    passes: npt.NDArray[np.bool_]
    """Whether the evidence alone allows promotion at this scrape."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """How stable did alone."""

    requests: int
    error_ratio: float
    latency_ms: float | None
    healthy: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Ratio:
    """A further ratio of two counters that the canary is compared by, such as failed checkouts."""

    name: str
    events: str
    """The counter of what happened, `checkout_failures_total`."""
    total: str
    """The counter of how often it could have, `checkouts_total`."""
    fewer_is_worse: bool = False
    """True for what should happen, such as a purchase a visit."""


@dataclass(frozen=True, slots=True)
class Judge:
    """The rules of one plan. Immutable: all that changes is in the `JudgeState`."""

    plan: RolloutPlan
    limits: Limits
    ratios: tuple[Ratio, ...] = ()
    against: Track = Track.STABLE
    """What the canary is compared with: stable, or a fresh copy of it as the baseline track."""

    @classmethod
    def for_plan(cls, plan: RolloutPlan, *, ratios: tuple[Ratio, ...] = (), against: Track = Track.STABLE) -> Judge:
        """Return the judge of a plan.

        Parameters
        ----------
        plan
            The rollout's plan.
        ratios
            Further ratios to compare the canary by.
        against
            What the canary is compared with.
        """
        asked, ms = plan.criteria, timedelta(milliseconds=1)
        return cls(
            plan,
            Limits(
                error_healthy=asked.errors.healthy_below,
                error_rollback=asked.errors.rollback_above,
                success_healthy=asked.success.healthy_above,
                latency_healthy=asked.latency.healthy_below / ms,
                latency_rollback=asked.latency.rollback_above / ms,
                timeout=plan.timeout / ms,
                minimum_effect=plan.minimum_effect.latency,
                warm_up=plan.warm_up.total_seconds(),
                alpha=plan.alpha,
                beta=plan.beta,
            ),
            ratios,
            against,
        )

    @property
    def rollback_needed(self) -> float:
        """The log evidence at which a canary is condemned."""
        return -math.log(self.limits.alpha)

    @property
    def promotion_needed(self) -> float:
        """The log evidence that every promotion criterion has to reach."""
        return -math.log(self.limits.beta)

    def begin(self) -> JudgeState:
        """Return the state before anything was seen."""
        return JudgeState(evidence=kernel.blank(1, (math.inf,), 1 + len(self.ratios)))

    def read(self, cursor: Cursor, frame: pd.DataFrame, *, against: Track | None = None) -> tuple[Scrapes, Cursor]:
        """Return what the frame's new samples counted of the tracks that this judge compares."""
        counters = tuple(name for ratio in self.ratios for name in (ratio.events, ratio.total))
        return read_scrapes(cursor, frame, against=against or self.against, extra=counters)

    def learn(self, state: JudgeState, frame: pd.DataFrame) -> tuple[JudgeState, dict[str, float]]:
        """Return the state after samples of stable alone, from before the canary has traffic, and what they counted."""
        scrapes, cursor = self.read(state.cursor, frame, against=Track.STABLE)
        if self.against is not Track.STABLE:
            cursor = Cursor(time=cursor.time, edges=cursor.edges)  # the baseline's own counters are new to the reader
        return self.learn_scrapes(replace(state, cursor=cursor), scrapes), _measured(scrapes) if len(scrapes) else {}

    def learn_scrapes(self, state: JudgeState, scrapes: Scrapes) -> JudgeState:
        """Return the state after increments of stable alone; see `learn`."""
        state = with_edges(state, scrapes.edges)
        if not len(scrapes):
            return state
        seen = (scrapes.requests, scrapes.errors, scrapes.sums, scrapes.latency.sum(axis=-1))
        sums = tuple(old + float(new[:, STABLE].sum()) for old, new in zip(state.baseline, seen, strict=True))
        evidence = kernel.learn(state.evidence, self._block(scrapes, np.zeros(len(scrapes))))
        return replace(state, evidence=evidence, baseline=(sums[0], sums[1], sums[2], sums[3]))

    def baseline(self, state: JudgeState) -> Baseline:
        """Return how stable did before the canary had traffic, held against the plan's healthy limits."""
        requests, errors, ms, timed = state.baseline
        ratio, latency = errors / max(requests, 1.0), ms / timed if timed else None
        reason = f"{criteria.count(errors)} of {criteria.count(requests)} requests failed"
        reason += f", mean latency {latency:.3g} ms" if latency is not None else ""
        low = criteria.interval(errors, requests)
        broken = requests > 0 and low is not None and low[0] > self.limits.error_healthy
        slow = latency is not None and latency >= self.limits.latency_healthy
        reason = f"no requests: {reason}" if not requests else reason
        return Baseline(round(requests), ratio, latency, requests > 0 and not broken and not slow, reason)

    def look(
        self,
        state: JudgeState,
        frame: pd.DataFrame,
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
        frame
            The tidy frame; samples seen before are dropped.
        canary_share
            The configured weight of the canary, 0-1. A new one begins a new step: promotion evidence starts again,
            rollback evidence never does.
        now
            The present moment.
        pods_ready
            Whether all wanted pods of both tracks are ready.
        """
        scrapes, cursor = self.read(state.cursor, frame)
        state = _with_readiness(with_edges(replace(state, cursor=cursor), scrapes.edges), now.timestamp(), pods_ready)
        for start in range(0, len(scrapes), _BLOCK):
            part = scrapes[start : start + _BLOCK]
            state, _ = self._advance(state, part, np.full(len(part), canary_share))
        verdict = self.verdict(state, canary_share=canary_share, now=now.timestamp())
        return Look(state, verdict, self._readings(state, scrapes, verdict))

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
        state, condemned = with_edges(state, scrapes.edges), state.shown.peak >= self.rollback_needed
        paths = []
        for start in range(0, len(scrapes), _BLOCK):
            part = slice(start, start + _BLOCK)
            state, path = self._advance(state, scrapes[part], shares[part])
            paths.append((path.rollback[:, 0], path.promotion[:, 0].min(axis=-1), self.allows(path)[:, 0]))
        rollback, promotion, allowed = (
            (np.concatenate(column) for column in zip(*paths, strict=True))
            if paths
            else (np.zeros(0), np.zeros(0), np.zeros(0, dtype=bool))
        )
        fails = np.logical_or.accumulate(rollback >= self.rollback_needed) | condemned
        return state, Replay(scrapes.time, rollback, promotion, fails, ~fails & allowed)

    def allows(self, path: Path) -> Bools:
        """Return whether the evidence alone allows promotion after each scrape of a path (T, N)."""
        shown = path.promotion.min(axis=-1) >= self.promotion_needed
        return np.asarray(shown & (path.rollback < _UNTROUBLED) & ~path.common)

    def _advance(self, state: JudgeState, scrapes: Scrapes, shares: Floats) -> tuple[JudgeState, Path]:
        evidence, path = kernel.advance(self.limits, state.evidence, self._block(scrapes, shares))
        heard = scrapes.time[scrapes.requests[:, CANARY] > 0]
        since = float(heard[-1]) if len(heard) else state.heard
        if math.isnan(since):
            since = float(scrapes.time[0])
        return replace(state, evidence=evidence, shown=_shown(path, scrapes, state.shown.peak), heard=since), path

    def _block(self, scrapes: Scrapes, shares: Floats) -> Block:
        """Return the scrapes of one service as a block for the kernel."""
        events, totals = [scrapes.errors], [scrapes.requests]
        for index, ratio in enumerate(self.ratios):
            total = scrapes.extra[..., 2 * index + 1]
            happened = np.minimum(scrapes.extra[..., 2 * index], total)
            events.append(total - happened if ratio.fewer_is_worse else happened)
            totals.append(total)
        return Block(
            time=scrapes.time,
            span=scrapes.span,
            requests=scrapes.requests[:, None],
            events=np.stack(events, axis=1)[:, None],
            totals=np.stack(totals, axis=1)[:, None],
            pods=scrapes.pods[:, None],
            latency=scrapes.latency[:, None],
            sums=scrapes.sums[:, None],
            weight=shares[:, None],
            edges=scrapes.edges,
        )

    def verdict(self, state: JudgeState, *, canary_share: float, now: float, replayed: bool = False) -> Verdict:
        """Return what the evidence so far says; `replayed` leaves out what only a live rollout knows."""
        shown = state.shown
        against, promoting = self._against(state), self._promoting(state)
        if not replayed:
            promoting.append(self._pods(state, canary_share, now))
        blockers = [] if replayed else self._blockers(state, canary_share, now)
        if shown.common:
            blockers.append(criteria.common_mode(_last(shown), self.limits))
        alarms = [mismatch] if (mismatch := self._mismatch(state)) else []
        outcome = Outcome.INCONCLUSIVE
        if shown.peak >= self.rollback_needed:
            outcome = Outcome.FAIL
        elif not blockers and shown.rollback < _UNTROUBLED and all(f.outcome is Outcome.PASS for f in promoting):
            outcome = Outcome.PASS
        return Verdict(
            outcome=outcome,
            findings=_ordered(outcome, blockers, alarms, against, promoting),
            rollback_evidence=_finite(self._decisive(shown)),
            rollback_needed=self.rollback_needed,
            promotion_evidence=_finite(min(shown.promotion)),
            promotion_needed=self.promotion_needed,
        )

    def _decisive(self, shown: Shown) -> float:
        """Return the evidence against the canary: the present one, unless only an earlier one condemned it."""
        condemned_before = shown.rollback < self.rollback_needed <= shown.peak
        return shown.peak if condemned_before else shown.rollback

    def _mismatch(self, state: JudgeState) -> Finding | None:
        """Return that the observed share is not the configured one: an alarm, no reason to roll back."""
        canary, stable = (float(one) for one in state.evidence.split[0])
        asked = float(state.evidence.weight[0])
        if not 0 < asked < 1 or canary + stable == 0:
            return None
        observed = canary / (canary + stable)
        evidence = sequential.share_log_ratio(canary, stable, asked)
        if evidence < self.rollback_needed or abs(observed - asked) < SHARE_TOLERANCE * min(asked, 1 - asked):
            return None
        return criteria.sample_ratio(observed, asked, canary + stable, evidence, self.rollback_needed)

    def _against(self, state: JudgeState) -> list[Finding]:
        counts, shown, needed = _counts(state, whole=True), state.shown, self.rollback_needed
        own = [_finite(part) for part in shown.parts] or [_finite(-math.inf)] * (4 + len(self.ratios))
        # The mixture condemns as a whole: when it does, its strongest part is what is named.
        if shown.peak >= needed:
            own[int(np.argmax(own))] = self._decisive(shown)
        findings = [
            criteria.relative_errors(counts, own[0], needed),
            *(
                criteria.relative_ratio(ratio.name, _ratio_counts(state, 1 + index), own[1 + index], needed)
                for index, ratio in enumerate(self.ratios)
            ),
            criteria.relative_latency(counts, own[-3], shown.raw_latency, needed, self.limits.minimum_effect),
            criteria.error_limit(counts, own[-2], needed, self.limits),
            criteria.latency_limit(counts, own[-1], needed, self.limits),
        ]
        return sorted((f for f in findings if f is not None), key=lambda f: -f.log_evidence)

    def _promoting(self, state: JudgeState) -> list[Finding]:
        counts, shown, needed = _counts(state, whole=False), state.shown, self.promotion_needed
        logs = [_finite(one) for one in shown.promotion]
        needs = [self._need(state, name) for name in promotion.PROMOTION]
        bucket = int(state.evidence.tail[0, 0])
        limits = self.limits
        unhealthy = 1 - limits.success_healthy
        errors, requests = promotion.kept_counts(state.evidence)
        kept = replace(counts, canary_errors=errors, canary_requests=requests)
        return [
            criteria.healthy_errors(
                kept if shown.by_limit else counts,
                *(logs[0], needed, needs[0], limits.error_healthy),
                by_limit=shown.by_limit,
                name="errors",
            ),
            criteria.healthy_errors(kept, logs[1], needed, needs[1], unhealthy, by_limit=True, name="success"),
            criteria.healthy_latency_ratio(counts, logs[2], needed, needs[2], state.edges[bucket]),
            criteria.healthy_latency(counts, logs[3], needed, needs[3], limits),
        ]

    def _need(self, state: JudgeState, name: str) -> Need:
        """Return how many more canary requests a criterion needs, if they are like those so far."""
        evidence = state.evidence
        done = float(evidence.step_requests[0, CANARY])
        rate = done / max(float(evidence.step_age[0]), 1e-9)
        wanted = self.promotion_needed
        lacks = [
            (wanted - prior - log) / (log / done)
            for prior, log in promotion.alternatives_of(evidence, name)
            if log > 0 and done > 0
        ]
        return Need(max(min(lacks, default=math.inf), 0.0), rate)

    def _pods(self, state: JudgeState, canary_share: float, now: float) -> Finding:
        bakes = [step.bake for step in self.plan.steps if step.canary == round(100 * canary_share)]
        needed = min([READY_FOR, *bakes]).total_seconds() * 0.9  # the first look comes a little after the step began
        return criteria.ready_pods(0.0 if math.isnan(state.ready_since) else now - state.ready_since, needed)

    def _blockers(self, state: JudgeState, canary_share: float, now: float) -> list[Finding]:
        patience = SILENT_SCRAPES * self.plan.scrape.total_seconds()
        last = state.cursor.time
        if math.isinf(last):
            return [criteria.missing(Basis.SERIES_ABSENT, "no samples of stable or canary yet")]
        if now - last > patience:
            return [criteria.missing(Basis.STALE, f"the last sample is {now - last:.0f} s old")]
        if canary_share > 0 and not math.isnan(state.heard) and last - state.heard >= patience:
            asked = criteria.percent(canary_share)
            silent = f"no canary request for {last - state.heard:.0f} s though {asked} of the traffic was asked for"
            return [criteria.missing(Basis.NO_TRAFFIC, silent)]
        return []

    def _readings(self, state: JudgeState, scrapes: Scrapes, verdict: Verdict) -> dict[str, float]:
        readings: dict[str, float] = {}
        if len(scrapes):
            readings |= _measured(scrapes)
        readings["evidence.rollback"] = verdict.rollback_evidence
        readings["evidence.promotion"] = verdict.promotion_evidence
        names = ("errors", *(ratio.name for ratio in self.ratios), "latency", "error_limit", "latency_limit")
        parts = zip(names, state.shown.parts, strict=False)
        readings |= {f"evidence.rollback.{name}": part for name, part in parts if math.isfinite(part)}
        promoting = zip(promotion.PROMOTION, state.shown.promotion, strict=True)
        readings |= {
            f"evidence.promotion.{name.replace(' ', '_')}": one for name, one in promoting if math.isfinite(one)
        }
        return readings


def no_data(judge: Judge, state: JudgeState, basis: Basis, reason: str) -> Verdict:
    """Return the verdict when there was nothing to read: inconclusive, with that as its reason."""
    return Verdict(
        outcome=Outcome.INCONCLUSIVE,
        findings=(criteria.missing(basis, reason),),
        rollback_evidence=_finite(state.shown.rollback),
        rollback_needed=judge.rollback_needed,
        promotion_evidence=_finite(min(state.shown.promotion)),
        promotion_needed=judge.promotion_needed,
    )


def _with_readiness(state: JudgeState, now: float, ready: bool) -> JudgeState:
    if not ready:
        return replace(state, ready_since=math.nan)
    return replace(state, ready_since=now) if math.isnan(state.ready_since) else state


def _shown(path: Path, scrapes: Scrapes, peak: float) -> Shown:
    last = np.stack([scrapes.requests[-1], scrapes.errors[-1], scrapes.sums[-1]], axis=-1)
    return Shown(
        rollback=float(path.rollback[-1, 0]),
        peak=max(peak, float(path.rollback[:, 0].max())),
        parts=tuple(path.parts[-1, 0].tolist()),
        raw_latency=float(path.raw_latency[-1, 0]),
        slow=bool(path.slow[-1, 0]),
        alone=bool(path.alone[-1, 0]),
        promotion=tuple(path.promotion[-1, 0].tolist()),
        by_limit=bool(path.by_limit[-1, 0]),
        common=bool(path.common[-1, 0]),
        last=tuple(last.ravel().tolist()),
    )


def _last(shown: Shown) -> Counts:
    requests, errors, ms, stable_requests, stable_errors, stable_ms = shown.last
    return Counts(
        requests, errors, _mean(ms, requests), stable_requests, stable_errors, _mean(stable_ms, stable_requests)
    )


def _mean(ms: float, requests: float) -> float:
    return ms / requests if requests > 0 and ms > 0 else math.nan


def _counts(state: JudgeState, *, whole: bool) -> Counts:
    """Return what was counted since the canary had traffic, or in this step; latencies are this step's."""
    evidence = state.evidence
    requests, errors = (
        (evidence.total_requests[0], evidence.total_errors[0])
        if whole
        else (evidence.step_requests[0], evidence.step_errors[0])
    )
    timed = evidence.step_latency[0].sum(axis=-1)
    ms = [_mean(float(evidence.step_sums[0, row]), float(timed[row])) for row in (CANARY, STABLE)]
    return Counts(
        float(requests[CANARY]), float(errors[CANARY]), ms[0], float(requests[STABLE]), float(errors[STABLE]), ms[1]
    )


def _ratio_counts(state: JudgeState, index: int) -> tuple[float, float, float, float]:
    """Return events and total of a further ratio since the canary had traffic, the canary's first."""
    counted = state.evidence.total_ratios[0, index]
    return float(counted[0, 0]), float(counted[1, 0]), float(counted[0, 1]), float(counted[1, 1])


def _measured(scrapes: Scrapes) -> dict[str, float]:
    """Return what this look counted, leaving out what there was nothing to measure of."""
    requests, errors, sums = scrapes.requests.sum(0), scrapes.errors.sum(0), scrapes.sums.sum(0)
    timed = scrapes.latency.sum(axis=(0, 2))
    readings = {}
    for row, track in ((CANARY, Track.CANARY), (STABLE, Track.STABLE)):
        readings[f"{track}.requests"] = float(requests[row])
        if requests[row] > 0:
            readings[f"{track}.error_ratio"] = float(errors[row] / requests[row])
        if timed[row] > 0 and sums[row] > 0:
            readings[f"{track}.latency_ms"] = float(sums[row] / timed[row])
    if requests.sum() > 0:
        readings["share"] = float(requests[CANARY] / requests.sum())
    return readings


def _ordered(
    outcome: Outcome, blockers: list[Finding], alarms: list[Finding], against: list[Finding], promoting: list[Finding]
) -> tuple[Finding, ...]:
    """Return all findings, the one that matters most for this outcome first."""
    lacking = sorted((f for f in promoting if f.outcome is not Outcome.PASS), key=_wait, reverse=True)
    shown = sorted((f for f in promoting if f.outcome is Outcome.PASS), key=lambda f: -f.log_evidence)
    if outcome is Outcome.FAIL:
        return (*against, *blockers, *alarms, *lacking, *shown)
    if outcome is Outcome.PASS:
        return (*shown, *alarms, *against)
    grave = [f for f in against if f.log_evidence >= _SUSPICIOUS]
    light = [f for f in against if f.log_evidence < _SUSPICIOUS]
    return (*blockers, *grave, *alarms, *lacking, *shown, *light)


def _wait(finding: Finding) -> timedelta:
    return finding.time_needed if finding.time_needed is not None else timedelta.max


def _finite(log_evidence: float) -> float:
    """Return the log evidence with no evidence at all as a number that JSON and charts can hold."""
    return max(float(log_evidence), -100.0)
