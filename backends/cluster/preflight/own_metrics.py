"""Preflight of the plan's own metrics: whether Prometheus has them of stable's pods."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from backends.cluster.environment import World
from backends.cluster.preflight import Check
from rollout.errors import RolloutError
from rollout.model import Track
from rollout.plan import RolloutPlan

_RECENT: Final = timedelta(minutes=5)
_LIMIT: Final = timedelta(seconds=10)


def own_metrics(world: World, plan: RolloutPlan) -> Iterator[Check]:
    """Whether each ratio's total and each gauge has series of stable's; events may be born with the first one."""
    for ratio in plan.criteria.ratios:
        total = _check(world, plan, f"ratio {ratio.name}", ratio.total)
        yield total
        if total.ok:
            yield _check(world, plan, f"ratio {ratio.name}", ratio.events, may_be_absent=True)
    for gauge in plan.criteria.gauges:
        yield _check(world, plan, f"gauge {gauge.name}", gauge.metric)


def _check(world: World, plan: RolloutPlan, name: str, metric: str, *, may_be_absent: bool = False) -> Check:
    try:
        owners = world.metrics.with_timeout(_LIMIT).owners(metric, plan.service, datetime.now(UTC) - _RECENT)
    except RolloutError as error:
        return Check(name, ok=False, detail=str(error), fix=f"see that Prometheus answers, and takes {metric}")
    stable_series = owners.count(Track.STABLE)
    if stable_series:
        return Check(name, ok=True, detail=f"{metric}: {stable_series} series of {plan.stable.version}")
    if may_be_absent:
        return Check(
            name, ok=True, detail=f"{metric}: no series of {plan.stable.version} yet; none before the first event"
        )
    if owners:
        return Check(
            name, ok=False, detail=f"{metric}: {len(owners)} series, none of {plan.stable.version}", fix=_fix(plan)
        )
    fix = f"let Prometheus scrape the pods of {plan.service}, with some traffic; see how they write its name"
    return Check(name, ok=False, detail=f"{metric}: no series", fix=fix)


def _fix(plan: RolloutPlan) -> str:
    version, service = plan.stable.version, plan.service
    return (
        f"let the scrape write the pods' labels: version={version}, or app_kubernetes_io_version={version} and "
        f"app_kubernetes_io_name={service}; or name the Deployment {service}-{version}"
    )
