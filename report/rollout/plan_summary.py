"""The plan as a person reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from rollout.formatting import format_limit, format_plural, format_ratio, format_span, to_sentence
from rollout.plan import RolloutPlan, WhenInconclusive, WhenOrphaned


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One step as a line of the table."""

    name: str
    share: str
    pods: str
    bake: str
    deadline: str


@dataclass(frozen=True, slots=True)
class Promise:
    """What a criterion promises."""

    name: str
    text: str


def planned_steps(plan: RolloutPlan) -> list[PlannedStep]:
    """Return the steps."""
    return [
        PlannedStep(
            step.name, f"{step.canary} %", str(step.replicas), format_span(step.bake), format_span(step.deadline)
        )
        for step in plan.steps
    ]


def promises(plan: RolloutPlan) -> list[Promise]:
    """Return the criteria, and the rules around them."""
    return [*_criteria(plan), *_rules(plan)]


def _criteria(plan: RolloutPlan) -> list[Promise]:
    criteria, latency = plan.criteria, plan.criteria.latency
    healthy, worst = (
        format_limit(limit.total_seconds() * 1000, "ms") for limit in (latency.healthy_below, latency.rollback_above)
    )
    return [
        Promise(
            "Errors",
            f"Healthy below {format_ratio(criteria.errors.healthy_below)} of answers, "
            f"rolled back above {format_ratio(criteria.errors.rollback_above)}.",
        ),
        Promise("Success", f"Healthy above {format_ratio(criteria.success.healthy_above)} of answers."),
        Promise("What is an error", f"{to_sentence(criteria.describe_errors())}"),
        Promise("Other answers", f"{to_sentence(criteria.describe_answers())}"),
        Promise("Latency", f"Healthy with a {latency.statistic} below {healthy}, rolled back above {worst}."),
        Promise(
            "Pods",
            f"{format_plural(criteria.pods.restarts, 'restart')} of one canary pod within "
            f"{format_span(criteria.pods.within)} roll back at once.",
        ),
    ]


def _rules(plan: RolloutPlan) -> list[Promise]:
    return [
        Promise("Against stable", _relative(plan)),
        Promise(
            "Alpha",
            f"At most {format_ratio(plan.alpha)} chance that a harmless canary is rolled back, over the whole rollout.",
        ),
        Promise("Beta", f"At most {format_ratio(plan.beta)} chance that a criterion passes a canary that breaks it."),
        Promise(
            "Undecided", f"When a step's deadline passes without enough evidence, {_undecided(plan.when_inconclusive)}"
        ),
        Promise("Orphaned", f"When the rollout's owner is gone, {_orphaned(plan.when_orphaned)}"),
        Promise("Old version", _old_version(plan)),
        Promise("Reading", _reading(plan)),
    ]


def _old_version(plan: RolloutPlan) -> str:
    return f"{plan.stable.version} is kept warm for {format_span(plan.retention)} after the promotion."


def _reading(plan: RolloutPlan) -> str:
    return (
        f"Evidence is read and judged every {format_span(plan.scrape)}; "
        f"the latency of a fresh canary is not compared for {format_span(plan.warm_up)}."
    )


def _relative(plan: RolloutPlan) -> str:
    return (
        "A canary that is worse than stable is rolled back even inside these limits; "
        f"latency differences below {format_ratio(plan.minimum_effect.latency)} are let pass."
    )


def _undecided(policy: WhenInconclusive) -> str:
    match policy:
        case WhenInconclusive.PAUSE:
            return "the rollout pauses for a person."
        case WhenInconclusive.ROLLBACK:
            return "it is rolled back."
        case WhenInconclusive.PROMOTE:
            return "it goes on, and the record says so."
        case _:
            assert_never(policy)


def _orphaned(policy: WhenOrphaned) -> str:
    match policy:
        case WhenOrphaned.RESTORE:
            return "all traffic goes back to stable."
        case WhenOrphaned.RESUME:
            return "another takes it up."
        case _:
            assert_never(policy)
