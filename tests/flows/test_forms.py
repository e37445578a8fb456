"""What a person fills into Prefect's forms: refused in our words before anything is touched."""

from __future__ import annotations

import copy
import logging
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.exceptions import FailedRun

from flows import canary, operations
from flows.page.forms import is_news
from rollout.errors import PlanError

PLAN = yaml.safe_load((Path(__file__).parents[2] / "demo.yaml").read_text())
PLACES: tuple[tuple[str | int, ...], ...] = (
    ("service",),
    ("stable", "version"),
    ("stable", "replicas"),
    ("baseline", "observe"),
    ("steps", 0, "canary"),
    ("steps", 1, "bake"),
    ("steps", 2, "deadline"),
    ("criteria", "errors", "rollback_above"),
    ("criteria", "latency", "healthy_below"),
    ("criteria", "pods", "restarts"),
    ("alpha",),
    ("scrape",),
    ("when_inconclusive",),
)
WRONG: tuple[Any, ...] = ("", "soon", "-5m", "5", "120%%", {}, ["x"], None, -1, "NaN", "a b", "\x00")


def wrong_sets(count: int, seed: int = 6) -> list[tuple[str, dict[str, Any]]]:
    """Return parameter sets with one wrong value each, and the field's name."""
    draw = random.Random(seed)
    made = []
    while len(made) < count:
        kind = draw.choice(("value", "key", "missing", "flag"))
        plan = copy.deepcopy(PLAN)
        place = draw.choice(PLACES)
        *way, last = place
        part = plan
        for name in way:
            part = part[name]
        match kind:
            case "value":
                part[last] = draw.choice(WRONG)
                made.append((str(last), {"plan": plan}))
            case "key":
                unknown = f"{last}_{draw.randrange(100)}"
                part[unknown] = 1
                made.append((unknown, {"plan": plan}))
            case "missing":
                gone = draw.choice(("service", "stable", "canary", "steps", "criteria"))
                del plan[gone]
                made.append((gone, {"plan": plan}))
            case _:
                field = draw.choice(("dry_run", "waits_for_person", "target", "rollout_id"))
                made.append(
                    (field, {"plan": plan, field: draw.choice(("perhaps", 7, ["x"])) if field != "rollout_id" else 7})
                )
    return made


@pytest.fixture
def touched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Everything that would touch the world says so here."""
    found: list[str] = []

    def note(name: str) -> Callable[..., None]:
        def noted(*args: object, **kwargs: object) -> None:
            found.append(name)
            raise AssertionError(f"{name} was called")

        return noted

    for name in ("open_run", "check_fitness", "rehearse"):
        monkeypatch.setattr(canary, name, note(name))
    return found


def test_a_hundred_wrong_forms_are_refused_with_field_value_and_what_is_allowed(touched: list[str]) -> None:
    for field, parameters in wrong_sets(100):
        with pytest.raises(PlanError) as refusal:
            canary.canary_rollout.fn(**parameters)

        said = str(refusal.value)
        assert field in said, parameters
        assert any(word in said for word in ("allowed", "has to be given", "did you mean")), said
        assert "pydantic" not in said
    assert touched == []


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"word": "stop"}, "word: got 'stop', allowed"),
        ({"word": "complaint", "count": 0}, "count: got 0, allowed: 1 or more"),
        ({"word": "pause", "target": {"backend": "moon"}}, "target: backend: got 'moon', allowed"),
    ],
)
def test_a_wrong_word_is_refused_before_it_is_said(parameters: dict[str, Any], said: str) -> None:
    with pytest.raises(PlanError, match=said):
        operations.steer.fn(**parameters)


def test_a_final_state_of_ours_is_no_traceback_in_the_log_and_a_bug_is() -> None:
    def logged(error: Exception) -> bool:
        try:
            raise error
        except Exception:
            record = logging.LogRecord("prefect", logging.ERROR, "", 0, "failed", None, sys.exc_info())
        return is_news(record)

    assert not logged(PlanError("service: got 'Shop!'"))
    assert not logged(FailedRun("Rolled back: errors 5.1 % > 1 %"))
    assert logged(KeyError("bug"))
