"""Plausible rollouts, simulated from a seed: what the judge and the conductor would have written down."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from rollout.events import (
    Alarm,
    BaselineChecked,
    DecisionMade,
    Ended,
    EndState,
    Fault,
    LoadSummary,
    Scaled,
    Started,
    StepEnded,
    StepStarted,
    VerdictChanged,
    WeightsObserved,
    WeightsSet,
)
from rollout.model import Basis, Outcome
from rollout.plan import RolloutPlan, Step, parse_plan
from rollout.record import Event, RolloutRecord, SeriesPoint, thinned
from rollout.verdict_entries import FindingEntry, VerdictEntry

ROOT = Path(__file__).parents[3]
NOON = datetime(2026, 3, 12, 14, 3, 22, tzinfo=UTC)
ROLLBACK_LINE, PROMOTION_LINE = math.log(100), math.log(20)


def demo_plan() -> RolloutPlan:
    return parse_plan((ROOT / "demo.yaml").read_text(), source="demo.yaml")


def full_plan() -> RolloutPlan:
    return parse_plan((ROOT / "rollout.yaml").read_text(), source="rollout.yaml")


@dataclass
class Simulation:
    """A rollout at a constant rate; the canary's behaviour is the caller's."""

    plan: RolloutPlan
    seed: int
    rate: float = 500.0
    canary_errors: Callable[[float], float] = lambda _: 0.0
    """Error probability by seconds since the start."""
    stable_errors: Callable[[float], float] = lambda _: 0.0
    canary_latency: Callable[[float], float] = lambda _: 40.0
    stable_latency: Callable[[float], float] = lambda _: 40.0
    now: float = 0.0
    against: float = 0.0
    counts: dict[str, int] = field(default_factory=lambda: {"stable": 0, "canary": 0})
    failures: dict[str, int] = field(default_factory=lambda: {"stable": 0, "canary": 0})
    events: list[Event] = field(default_factory=list)
    points: dict[str, list[SeriesPoint]] = field(default_factory=dict)
    first_failures: dict[str, datetime] = field(default_factory=dict)
    last_answers: dict[str, datetime] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)

    @property
    def at(self) -> datetime:
        return NOON + timedelta(seconds=self.now)

    def note(self, series: str, value: float) -> None:
        self.points.setdefault(series, []).append(SeriesPoint.single(series, self.at, value))

    def say(self, event: Event) -> None:
        self.events.append(event)

    def binomial(self, n: int, p: float) -> int:
        mean, sd = n * p, math.sqrt(max(n * p * (1 - p), 0.0))
        if mean < 20:
            return sum(self.random.random() < p for _ in range(n)) if n < 5000 else round(mean)
        return min(max(round(self.random.gauss(mean, sd)), 0), n)

    def begin(self, note: str = "") -> None:
        self.say(
            Started(at=self.at, rollout="canary-app-7f3a", plan=self.plan, who="maria@shop", backend="local", note=note)
        )
        self.say(Scaled(at=self.at, track="stable", replicas=3, seconds=1.42))
        self.watch(self.plan.baseline.observe.total_seconds(), weight=0)
        self.say(
            BaselineChecked(
                at=self.at,
                reason="stable is healthy: 3 pods ready, 0 errors",
                requests=self.counts["stable"],
                error_ratio=0.0,
                latency_ms=40.3,
            )
        )

    def start_step(self, step: Step) -> None:
        self.now += 0.8
        self.say(Scaled(at=self.at, track="canary", replicas=step.replicas, seconds=0.81))
        self.now += 0.2
        weights = WeightsSet(
            at=self.at, stable=100 - step.canary, canary=step.canary, reason=f"step {step.name}", milliseconds=6.4
        )
        self.say(weights)
        self.now += 1.0
        self.say(
            WeightsObserved(
                at=self.at, canary=step.canary, observed=step.canary / 100 + 0.004, requests=503, seconds=1.0
            )
        )
        self.say(StepStarted(at=self.at, step=step.name, canary=step.canary))

    def watch(self, seconds: float, weight: int, until: Callable[[], bool] = lambda: False) -> float:
        """Scrape on; return the step's promotion evidence."""
        scrape, forward, end = self.plan.scrape.total_seconds(), 0.0, self.now + seconds
        while self.now < end - 1e-6 and not until():
            self.now += scrape
            canary = self.binomial(round(self.rate * scrape), weight / 100)
            self.scrape("stable", round(self.rate * scrape) - canary, self.stable_errors, self.stable_latency)
            self.scrape("canary", canary, self.canary_errors, self.canary_latency)
            self.note("weight_asked", weight)
            if weight:
                self.note("share", canary / (self.rate * scrape))
                forward += canary * 0.0012 + self.random.gauss(0, 0.05)
                self.evidence(canary, forward)
        return forward

    def scrape(self, track: str, n: int, errors: Callable[[float], float], latency: Callable[[float], float]) -> None:
        failed = self.binomial(n, errors(self.now))
        self.counts[track] += n
        self.failures[track] += failed
        self.note(f"{track}.requests", n)
        if failed:
            self.first_failures.setdefault(track, self.at - timedelta(seconds=0.4))
        if n:
            self.last_answers[track] = self.at + timedelta(seconds=0.1)
            self.note(f"{track}.error_ratio", failed / n)
            self.note(f"{track}.latency_ms", latency(self.now) * math.exp(self.random.gauss(0, 0.02)))

    def evidence(self, canary: int, forward: float) -> None:
        worse = self.canary_errors(self.now) - self.stable_errors(self.now)
        slower = self.canary_latency(self.now) / self.stable_latency(self.now) - 1
        gain = canary * (worse * 0.22 + max(slower, 0.0) * 0.0004)
        self.against = max(self.against * (1 if gain else 0.93) + gain + self.random.gauss(-0.03, 0.06), -2.2)
        self.note("evidence.rollback", self.against)
        self.note("evidence.rollback.errors", self.against - (0.7 if worse > 0 else 1.4))
        self.note("evidence.rollback.latency", self.against - (0.9 if slower > 0 else 1.8))
        self.note("evidence.promotion", forward)
        self.note("evidence.promotion.errors", forward)
        self.note("evidence.promotion.success", forward * 1.7)
        self.note("evidence.promotion.latency", forward * 2.4)

    def verdict(self, outcome: Outcome, forward: float, *findings: FindingEntry) -> VerdictEntry:
        return VerdictEntry(
            outcome=outcome,
            reason=findings[0].reason if findings else "nothing has been judged yet",
            findings=findings,
            rollback_evidence=self.against,
            rollback_needed=ROLLBACK_LINE,
            promotion_evidence=forward,
            promotion_needed=PROMOTION_LINE,
        )

    def decide(self, step: Step, decision: str, reason: str) -> None:
        self.say(DecisionMade(at=self.at, step=step.name, decision=decision, reason=reason))

    def end_step(self, step: Step, verdict: VerdictEntry, first: dict[str, int]) -> None:
        canary = self.counts["canary"] - first["canary"]
        both = canary + self.counts["stable"] - first["stable"]
        observed = canary / both if both else None
        self.say(StepEnded(at=self.at, step=step.name, verdict=verdict, observed=observed, requests=both))

    def back_to_stable(self, step: Step, reason: str) -> None:
        self.decide(step, "roll back", reason)
        self.now += 0.041
        self.say(WeightsSet(at=self.at, stable=100, canary=0, reason=f"roll back: {reason}", milliseconds=38.2))
        self.watch(4, weight=0)
        self.say(WeightsObserved(at=self.at, canary=0, observed=0.0, requests=1000, seconds=1.9))
        self.say(Scaled(at=self.at, track="canary", replicas=0, seconds=1.2))

    def end(self, state: EndState, reason: str) -> RolloutRecord:
        sent, failed = sum(self.counts.values()), sum(self.failures.values())
        by_track = {track: n for track, n in self.failures.items() if n} | ({"none": 0} if failed else {})
        summary = LoadSummary(
            at=self.at + timedelta(seconds=2),
            requests=sent + 214,
            failures=failed,
            failures_by_track=by_track,
            rate=self.rate,
            first_failures=self.first_failures,
            last_answers=self.last_answers,
        )
        self.say(Ended(at=self.at, state=state, reason=reason))
        self.say(summary)
        return self.record()

    def record(self) -> RolloutRecord:
        series = {name: thinned(points) for name, points in self.points.items()}
        return RolloutRecord(events=tuple(self.events), series=series)


def passing(seen: int) -> tuple[FindingEntry, ...]:
    return (
        FindingEntry(
            criterion="errors",
            basis=Basis.ABSOLUTE,
            outcome=Outcome.PASS,
            reason=f"0 of {seen:,} canary requests failed: the error ratio is below 0.1 %",
            estimate=0.0,
            interval=(0.0, 0.00082),
            limit=0.001,
            unit="ratio",
            log_evidence=3.31,
            log_needed=PROMOTION_LINE,
        ),
        FindingEntry(
            criterion="success",
            basis=Basis.ABSOLUTE,
            outcome=Outcome.PASS,
            reason="the success ratio is above 99.5 %",
            estimate=1.0,
            interval=(0.9991, 1.0),
            limit=0.995,
            unit="ratio",
            log_evidence=7.9,
            log_needed=PROMOTION_LINE,
        ),
        FindingEntry(
            criterion="latency",
            basis=Basis.RELATIVE,
            outcome=Outcome.PASS,
            reason="the canary is no slower than stable",
            estimate=1.004,
            interval=(0.98, 1.03),
            limit=1.25,
            unit="x",
            log_evidence=11.2,
            log_needed=PROMOTION_LINE,
        ),
        FindingEntry(
            criterion="latency",
            basis=Basis.ABSOLUTE,
            outcome=Outcome.PASS,
            reason="the mean latency is below 200 ms",
            estimate=40.4,
            interval=(39.6, 41.2),
            limit=200.0,
            unit="ms",
            log_evidence=16.3,
            log_needed=PROMOTION_LINE,
        ),
    )


def undecided(needed: int = 2588, minutes: float = 7) -> tuple[FindingEntry, ...]:
    errors = FindingEntry(
        criterion="errors",
        basis=Basis.ABSOLUTE,
        outcome=Outcome.INCONCLUSIVE,
        reason="no canary request has failed yet, but too few were seen to show an error ratio below 0.1 %",
        estimate=0.0,
        interval=(0.0, 0.0072),
        limit=0.001,
        unit="ratio",
        log_evidence=0.41,
        log_needed=PROMOTION_LINE,
        requests_needed=needed,
        seconds_needed=minutes * 60,
    )
    return (errors, *passing(412)[1:])


def condemned(reason: str, evidence: float) -> tuple[FindingEntry, ...]:
    finding = FindingEntry(
        criterion="errors",
        basis=Basis.RELATIVE,
        outcome=Outcome.FAIL,
        reason=reason,
        estimate=0.0512,
        interval=(0.031, 0.079),
        limit=0.01,
        unit="ratio",
        log_evidence=evidence,
        log_needed=ROLLBACK_LINE,
    )
    return (finding, *passing(600)[2:])


def _step_through(run: Simulation, step: Step, *, last: bool) -> None:
    first = dict(run.counts)
    run.start_step(step)
    run.watch(3, step.canary)
    run.say(VerdictChanged(at=run.at, step=step.name, verdict=run.verdict(Outcome.INCONCLUSIVE, 0.4, *undecided())))
    run.decide(step, "hold", undecided()[0].reason)
    forward = run.watch(step.bake.total_seconds() - 3, step.canary)
    verdict = run.verdict(Outcome.PASS, forward, *passing(run.counts["canary"] - first["canary"]))
    run.say(VerdictChanged(at=run.at, step=step.name, verdict=verdict))
    run.decide(step, "promote" if last else "advance", verdict.reason)
    run.end_step(step, verdict, first)


def promoted(seed: int = 1, plan: RolloutPlan | None = None, rate: float = 500.0) -> RolloutRecord:
    run = Simulation(plan or demo_plan(), seed, rate, stable_errors=lambda _: 0.00002, canary_errors=lambda _: 0.00002)
    run.begin()
    for step in run.plan.steps:
        _step_through(run, step, last=step is run.plan.steps[-1])
    return run.end(EndState.PROMOTED, "all three steps passed: v2 is the new stable, v1 is kept warm for 10 min")


def promoted_through_outage(seed: int = 2) -> RolloutRecord:
    def outage(seconds: float) -> float:
        return 0.2 if 62 <= seconds < 72 else 0.0

    run = Simulation(demo_plan(), seed, stable_errors=outage, canary_errors=outage)
    run.begin(note="the demo injects an outage into both tracks")
    introduce, increase, full = run.plan.steps
    _step_through(run, introduce, last=False)
    first = dict(run.counts)
    run.start_step(increase)
    run.watch(62 - run.now, 50)
    run.say(Fault(at=run.at, what="outage: both tracks answer 20 % errors"))
    run.watch(2, 50)
    common = FindingEntry(
        criterion="errors",
        basis=Basis.COMMON_MODE,
        outcome=Outcome.INCONCLUSIVE,
        reason="common mode: stable breaks the limit too (19.8 % errors against the canary's 20.3 %)",
        estimate=0.203,
        limit=0.01,
        unit="ratio",
    )
    run.say(VerdictChanged(at=run.at, step="increase", verdict=run.verdict(Outcome.INCONCLUSIVE, 0.4, common)))
    run.decide(increase, "hold", common.reason)
    run.say(Alarm(at=run.at, what="both tracks answer errors: common mode, the weights stay"))
    run.watch(8, 50)
    run.say(Fault(at=run.at, what="outage taken out again"))
    forward = run.watch(12, 50)
    verdict = run.verdict(Outcome.PASS, forward, *passing(5210))
    run.decide(increase, "advance", verdict.reason)
    run.end_step(increase, verdict, first)
    _step_through(run, full, last=True)
    return run.end(EndState.PROMOTED, "all three steps passed: v2 is the new stable")


def rolled_back(seed: int = 3) -> RolloutRecord:
    onset = 15 + 2 + 10.0
    run = Simulation(demo_plan(), seed, canary_errors=lambda s: 0.05 if s > onset else 0.0)
    run.begin(note="the demo injects errors=5% into the canary at introduce+10")
    step = run.plan.steps[0]
    first = dict(run.counts)
    run.start_step(step)
    run.watch(3, step.canary)
    run.say(VerdictChanged(at=run.at, step=step.name, verdict=run.verdict(Outcome.INCONCLUSIVE, 0.4, *undecided())))
    run.decide(step, "hold", undecided()[0].reason)
    run.watch(onset - run.now, step.canary)
    run.say(Fault(at=run.at, what="errors=5% put into the canary"))
    run.watch(30, step.canary, until=lambda: run.against > ROLLBACK_LINE)
    reason = "5.1 % of the canary's answers are errors against 0 % of stable's: worse than stable at 130 : 1"
    verdict = run.verdict(Outcome.FAIL, -1.0, *condemned(reason, run.against))
    run.now += 0.012
    run.say(VerdictChanged(at=run.at, step=step.name, verdict=verdict))
    run.end_step(step, verdict, first)
    run.back_to_stable(step, reason)
    return run.end(EndState.ROLLED_BACK, reason)


def slow_canary(seed: int = 4) -> RolloutRecord:
    run = Simulation(full_plan(), seed, rate=60, canary_latency=lambda s: 40 if s < 2500 else 640)
    run.begin()
    introduce, increase, _ = run.plan.steps
    _step_through(run, introduce, last=False)
    first = dict(run.counts)
    run.start_step(increase)
    run.watch(3600, 50, until=lambda: run.against > ROLLBACK_LINE)
    reason = "the canary's mean latency is 640 ms, above the rollback limit of 500 ms, and 16 times stable's"
    finding = FindingEntry(
        criterion="latency",
        basis=Basis.ABSOLUTE,
        outcome=Outcome.FAIL,
        reason=reason,
        estimate=640.0,
        interval=(628.0, 652.0),
        limit=500.0,
        unit="ms",
        log_evidence=run.against,
        log_needed=ROLLBACK_LINE,
    )
    verdict = run.verdict(Outcome.FAIL, 0.0, finding)
    run.say(VerdictChanged(at=run.at, step="increase", verdict=verdict))
    run.end_step(increase, verdict, first)
    run.back_to_stable(increase, reason)
    return run.end(EndState.ROLLED_BACK, reason)


def held(seed: int = 5) -> RolloutRecord:
    run = Simulation(demo_plan(), seed, rate=20)
    run.begin()
    step = run.plan.steps[0]
    first = dict(run.counts)
    run.start_step(step)
    forward = run.watch(step.deadline.total_seconds(), step.canary)
    run.say(Alarm(at=run.at, what="the canary gets 4 requests a second: too few to decide before the deadline"))
    verdict = run.verdict(Outcome.INCONCLUSIVE, forward, *undecided())
    run.say(VerdictChanged(at=run.at, step=step.name, verdict=verdict))
    reason = f"inconclusive at the deadline of 1 min 30 s: {verdict.reason}"
    run.decide(step, "hold", reason)
    run.end_step(step, verdict, first)
    return run.end(EndState.HELD, reason)


def interrupted(seed: int = 6) -> RolloutRecord:
    run = Simulation(demo_plan(), seed, canary_latency=lambda _: 46.0)
    run.begin()
    _step_through(run, run.plan.steps[0], last=False)
    run.start_step(run.plan.steps[1])
    run.watch(9, 50)
    run.say(VerdictChanged(at=run.at, step="increase", verdict=run.verdict(Outcome.INCONCLUSIVE, 1.1, *undecided())))
    return run.record()


SAMPLES: dict[str, Callable[[], RolloutRecord]] = {
    "promoted": promoted,
    "promoted-through-outage": promoted_through_outage,
    "promoted-in-a-day": lambda: promoted(seed=7, plan=full_plan(), rate=40.0),
    "rolled-back": rolled_back,
    "slow-canary": slow_canary,
    "held": held,
    "interrupted": interrupted,
    "empty": RolloutRecord,
}
