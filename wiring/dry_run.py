"""What a rollout would do: its steps, their times and what they could see, told without touching anything."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from datetime import timedelta

from analysis.judge import Judge
from analysis.offline.power import Power, plan_power
from report.plan.power_page import headline, moments
from rollout.errors import NoSamplesError, RolloutError, SetupError, UnavailableError
from rollout.formatting import format_ms, format_number, format_ratio, format_span
from rollout.hooks import HookMoment
from rollout.plan import Approval, RolloutPlan, Step, WhenInconclusive
from wiring.composition import open_world
from wiring.power_forecast import measured
from wiring.preflight import checklist
from wiring.target import Target

Move = tuple[str, timedelta]
"""What is done, and how long it takes at least."""
_AT_ONCE = timedelta(0)
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
    """Return each phase, and each hook, with the earliest moment at which it can begin."""
    at = timedelta(0)
    for line, takes in _moves(plan):
        yield f"at {format_span(at)}: {line}"
        at += takes
    yield f"a step that is undecided at its deadline: {_UNDECIDED[plan.when_inconclusive]}"
    for line, _ in _hooks(plan, HookMoment.AFTER_ROLLBACK):
        yield f"after a rollback: {line}"


def _moves(plan: RolloutPlan) -> Iterator[Move]:
    old, new, observe = plan.stable.version, plan.canary.version, plan.baseline.observe
    yield from _hooks(plan, HookMoment.BEFORE_ROLLOUT)
    yield f"{old} alone is watched for {format_span(observe)}", observe
    if mirror := plan.mirror:
        copies = f"{mirror.share} % of the requests are copied to {new} for {format_span(mirror.bake)}"
        yield f"{copies}; its answers reach nobody", mirror.bake
    for step in plan.steps:
        yield from _hooks(plan, HookMoment.BEFORE_STEP, step.name)
        yield _watched(step, new), step.bake
        yield from _hooks(plan, HookMoment.AFTER_STEP, step.name)
    yield from _hooks(plan, HookMoment.BEFORE_PROMOTE)
    yield f"promoted at the earliest; {old} stays {format_span(plan.retention)}", _AT_ONCE
    yield from _hooks(plan, HookMoment.AFTER_PROMOTE)


def _watched(step: Step, version: str) -> str:
    pods = f"{step.replicas} pod{'s' if step.replicas > 1 else ''} of {version}"
    watched = f"watched for {format_span(step.bake)}, {format_span(step.deadline)} at most"
    approval = _describe_approval(step.approval) if step.approval else ""
    return f"{step.name}: {pods}, {step.canary} % of the traffic, {watched}{approval}"


def _describe_approval(approval: Approval) -> str:
    who = " or ".join(approval.by) or "a person"
    return f"; then {who} is asked, for {format_span(approval.within)}"


def _hooks(plan: RolloutPlan, when: HookMoment, step: str = "") -> Iterator[Move]:
    moment = f"{when} {step}".strip()
    for hook in plan.hooks:
        if hook.is_due(when, step):
            what = f"POST {hook.url}" if hook.url else shlex.join(hook.command)
            yield f"hook {hook.name}, {moment}: {what}; on_failure: {hook.on_failure}", _AT_ONCE


def _expected(plan: RolloutPlan, target: Target) -> Iterator[str]:
    try:
        traffic, learnt = measured(open_world(target, plan).metrics, Judge.for_plan(plan), None)
    except (UnavailableError, NoSamplesError, SetupError) as error:
        yield f"expected times: not known without traffic to measure: {error}"
        return
    errors, latency = format_ratio(traffic.error_ratio), format_ms(traffic.latency_ms)
    facts = f"{format_number(traffic.rps)} requests/s, {errors} errors, {latency}"
    power = plan_power(Judge.for_plan(plan), traffic, learnt=learnt)
    yield f"at the traffic of the last hour ({facts}): {headline(power)}"
    yield from _moments(power)


def _moments(power: Power) -> Iterator[str]:
    for step in power.steps:
        half, most = moments(step)
        yield f"  {step.step}: a healthy canary is passed after {half} in half of the rollouts, {most} in nine of ten"
    for fault in power.detections:
        half, most = moments(fault)
        if half == "never":
            yield f"  {fault.effect}: not seen within the steps"
            continue
        yield f"  {fault.effect}: rolled back after {half} in half of the rollouts, {most} in nine of ten"
