"""What a rollout would do: its steps, their times and what they could see, told without touching anything."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from analysis.judge import Judge
from analysis.power import Power, plan_power
from flows.commands.foresight import measured
from flows.fitness import checklist
from flows.targets import Target
from flows.wiring import open_world, prometheus_of
from report.power_page import headline, moments
from report.wording import number, percent
from rollout.errors import NoSamplesError, RolloutError, UnavailableError
from rollout.plan import RolloutPlan, WhenInconclusive
from rollout.quantities import format_duration

_UNDECIDED = {
    WhenInconclusive.PAUSE: "it is held for a person",
    WhenInconclusive.ROLLBACK: "it is rolled back",
    WhenInconclusive.PROMOTE: "it goes on without evidence",
}


def rehearse(plan: RolloutPlan, target: Target) -> tuple[str, ...]:
    """Return line by line what a rollout would do here and now; the world is only read.

    Parameters
    ----------
    plan
        The rollout plan.
    target
        Where the rollout would take place.
    """
    return (
        f"{plan.service} {plan.stable.version} → {plan.canary.version}: nothing is touched, this is what would be done",
        *_obstacles(plan, target),
        *_course(plan),
        *_expected(plan, target),
    )


def _obstacles(plan: RolloutPlan, target: Target) -> Iterator[str]:
    try:
        misses = [check for check in checklist(plan, target) if not check.ok]
        weights = None if misses else open_world(target, plan).router.read_weights()
    except RolloutError as error:
        yield f"it would be refused now: {error}"
        return
    for miss in misses:
        yield f"it would be refused now: {miss.name}: {miss.found}; {miss.fix}"
    if weights:
        yield f"now: stable {weights.stable} %, canary {weights.canary} %"


def _course(plan: RolloutPlan) -> Iterator[str]:
    """Return each phase with the earliest moment at which it can begin."""
    at, old = timedelta(0), plan.stable.version
    yield f"at {format_duration(at)}: {old} alone is watched for {format_duration(plan.baseline.observe)}"
    at += plan.baseline.observe
    if plan.mirror:
        copies = f"{plan.mirror.share} % of the requests are copied to {plan.canary.version}"
        yield f"at {format_duration(at)}: {copies} for {format_duration(plan.mirror.bake)}; its answers reach nobody"
        at += plan.mirror.bake
    for step in plan.steps:
        pods = f"{step.replicas} pod{'s' if step.replicas > 1 else ''} of {plan.canary.version}"
        watched = f"watched for {format_duration(step.bake)}, {format_duration(step.deadline)} at most"
        asked = f"; then a person is asked, for {format_duration(step.approval.within)}" if step.approval else ""
        yield f"at {format_duration(at)}: {step.name}: {pods}, {step.canary} % of the traffic, {watched}{asked}"
        at += step.bake
    yield f"at {format_duration(at)}: promoted at the earliest; {old} stays {format_duration(plan.retention)}"
    yield f"a step that is undecided at its deadline: {_UNDECIDED[plan.when_inconclusive]}"


def _expected(plan: RolloutPlan, target: Target) -> Iterator[str]:
    try:
        traffic, learnt = measured(prometheus_of(target), Judge.for_plan(plan), None)
    except (UnavailableError, NoSamplesError) as error:
        yield f"expected times: not known without traffic to measure: {error}"
        return
    facts = f"{number(traffic.rps)} requests/s, {percent(traffic.error_ratio)} errors, {number(traffic.latency_ms)} ms"
    power = plan_power(Judge.for_plan(plan), traffic, learnt=learnt)
    yield f"at the traffic of the last hour ({facts}): {headline(power)}"
    yield from _moments(power)


def _moments(power: Power) -> Iterator[str]:
    for step in power.steps:
        half, most = moments(step)
        yield f"  {step.step}: a healthy canary is passed after {half} in half of the rollouts, {most} in nine of ten"
    for fault in power.detections:
        half, most = moments(fault)
        yield f"  {fault.effect}: rolled back after {half} in half of the rollouts, {most} in nine of ten"
