from __future__ import annotations

import json
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rollout.errors import PlanError
from rollout.plan import RolloutPlan, dump_plan, parse_plan, plan_schema, validate_plan

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "rollout.yaml").read_text()


def changed(**parts: Any) -> dict[str, Any]:
    return yaml.safe_load(TEXT) | parts


def criteria(**parts: Any) -> dict[str, Any]:
    return {"criteria": yaml.safe_load(TEXT)["criteria"] | parts}


def step(**parts: Any) -> dict[str, Any]:
    return {"name": "one", "canary": "20%", "replicas": 1, "bake": "30m"} | parts


def test_the_shipped_plan_holds_the_strategys_figures() -> None:
    plan = parse_plan(TEXT)

    assert [(step.canary, step.bake) for step in plan.steps] == [
        (20, timedelta(minutes=30)),
        (50, timedelta(hours=1)),
        (100, timedelta(hours=24)),
    ]
    assert plan.criteria.errors.healthy_below == 0.001
    assert plan.criteria.errors.rollback_above == 0.01
    assert plan.criteria.success.healthy_above == 0.995
    assert plan.criteria.latency.healthy_below == timedelta(milliseconds=200)
    assert plan.criteria.latency.rollback_above == timedelta(milliseconds=500)
    assert plan.alpha == 0.01


def test_the_demos_plan_changes_times_and_scrapes_only() -> None:
    plan, demo = parse_plan(TEXT), parse_plan((ROOT / "demo.yaml").read_text())
    times = {"baseline", "steps", "retention", "scrape", "warm_up"}

    assert demo.model_dump(exclude=times) == plan.model_dump(exclude=times)
    assert [(s.name, s.canary, s.replicas) for s in demo.steps] == [(s.name, s.canary, s.replicas) for s in plan.steps]


def test_a_deadline_is_twice_the_bake_time_unless_said() -> None:
    plan = validate_plan(changed(steps=[step(bake="7m")]))

    assert plan.steps[0].deadline == timedelta(minutes=14)
    assert plan.horizon == timedelta(minutes=14)


def test_a_plan_survives_being_written_and_read() -> None:
    plan = parse_plan(TEXT)

    assert parse_plan(dump_plan(plan)) == plan
    assert RolloutPlan.model_validate_json(plan.model_dump_json()) == plan


def test_the_schema_in_docs_is_not_stale() -> None:
    assert json.loads((ROOT / "docs" / "rollout.schema.json").read_text()) == plan_schema()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"colour": "red"}, ["colour", "unknown key", "'red'", "allowed"]),
        ({"retension": "1h"}, ["retension: unknown key", "did you mean 'retention'?"]),
        (
            criteria(errors={"healthy_below": "1%", "rolback_above": "2%"}),
            ["criteria.errors.rolback_above", "did you mean 'rollback_above'?"],
        ),
        (
            criteria(gauges=[{"name": "memory", "metric": "m", "rollback_above": "1", "fo": "2m"}]),
            ["criteria.gauges[0].fo", "did you mean 'for'?"],
        ),
        (
            criteria(gauges=[{"name": "memory", "metric": "m", "rollback_above": "1GB", "for": "2m"}]),
            ["criteria.gauges[0].rollback_above", "'1GB'", "512Mi"],
        ),
        (
            criteria(ratios=[{"name": "errors", "events": "a", "total": "b"}]),
            ["criteria.ratios and gauges", "'errors'", "names of their own"],
        ),
        (
            criteria(ratios=[{"name": "x", "events": "a-b", "total": "b"}]),
            ["criteria.ratios[0].events", "'a-b'", "allowed"],
        ),
        ({"alpha": 0.01}, ["alpha", "0.01", "percent"]),
        ({"alpha": "70%"}, ["alpha", "'70%'", "below 50%"]),
        ({"service": "Canary App"}, ["service", "'Canary App'", "allowed"]),
        ({"steps": []}, ["steps", "0 entries", "1 to 50"]),
        ({"steps": [step(canary="120%")]}, ["steps[0].canary", "'120%'", "1% to 100%"]),
        ({"steps": [step(canary="20.5%")]}, ["steps[0].canary", "'20.5%'", "whole"]),
        ({"steps": [step(bake="0s")]}, ["steps[0].bake", "0s", "more than 0s"]),
        ({"steps": [step(bake="1h", deadline="30m")]}, ["steps[0].deadline", "30m", "bake time (1h) or more"]),
        ({"steps": [step(bake="soon")]}, ["steps[0].bake", "'soon'", "30m"]),
        ({"steps": [step(), step(name="two")]}, ["steps", "[20, 20]", "grow"]),
        ({"steps": [step(), step(canary="50%")]}, ["steps", "'one'", "names of their own"]),
        ({"canary": {"version": "v1"}}, ["canary.version", "'v1'", "other than stable's"]),
        ({"stable": {"version": "v1", "replicas": 0}}, ["stable.replicas", "0", "greater than or equal to 1"]),
        ({"when_inconclusive": "hope"}, ["when_inconclusive", "'hope'", "'pause', 'rollback' or 'promote'"]),
        ({"scrape": "10ms"}, ["scrape", "10ms", "500ms or more"]),
        ({"criteria": None}, ["criteria", "nothing", "allowed"]),
    ],
)
def test_a_mistake_is_told_by_field_value_and_what_is_allowed(change: dict[str, Any], said: list[str]) -> None:
    with pytest.raises(PlanError) as caught:
        validate_plan(changed(**change), source="rollout.yaml")

    assert str(caught.value).startswith("rollout.yaml: ")
    assert [words for words in said if words not in str(caught.value)] == []


def test_a_limit_below_its_healthy_value_is_refused() -> None:
    data = changed()
    data["criteria"]["errors"] = {"healthy_below": "2%", "rollback_above": "1%"}
    data["criteria"]["latency"] = {"healthy_below": "500ms", "rollback_above": "200ms"}

    with pytest.raises(PlanError) as caught:
        validate_plan(data)

    assert "criteria.errors.rollback_above is 1%, allowed: healthy_below (2%) or more" in str(caught.value)
    assert "criteria.latency.rollback_above is 200ms, allowed: healthy_below (500ms) or more" in str(caught.value)


def test_every_mistake_is_told_not_only_the_first() -> None:
    with pytest.raises(PlanError) as caught:
        validate_plan(changed(alpha="70%", colour="red"))

    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize("text", ["", "just words", "- a\n- list", "a: [1", "\x00"])
def test_text_that_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(PlanError, match="rollout"):
        parse_plan(text, source="rollout.yaml")


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)
    )
)
def test_any_value_anywhere_is_a_plan_error_or_a_plan(value: Any) -> None:
    for field in RolloutPlan.model_fields:
        with suppress(PlanError):
            validate_plan(changed(**{field: value}))
