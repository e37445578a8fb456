"""Processes that die between any two calls, and a judge that says what the test wants it to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from analysis.judge import Baseline, Judge, JudgeState, Look
from conductor.commands.commands import Desk
from conductor.state.rollout_run import Ports, Run
from rollout.events import Started
from rollout.model import Basis, Finding, Outcome, Verdict, Weights
from rollout.plan import RolloutPlan
from tests.fakes import FakeWorld


class Dead(BaseException):
    """The process is gone: nothing of it runs any more."""


@dataclass
class Life:
    """How many calls a process may still make, and whether the last one takes effect."""

    calls: int
    is_last_effective: bool = True

    def through(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.calls -= 1
        if self.calls < 0 or (self.calls == 0 and not self.is_last_effective):
            self.calls = 0
            raise Dead
        result = call(*args, **kwargs)
        if self.calls == 0:
            raise Dead
        return result


class Mortal:
    """A port, as long as its process lives."""

    def __init__(self, port: Any, life: Life) -> None:
        self._port, self._life = port, life

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        return (lambda *args, **kwargs: self._life.through(found, *args, **kwargs)) if callable(found) else found


@dataclass
class Says:
    """What the judge is to say of rollouts: condemn at this look, or never."""

    fails_at: int = -1
    looks: int = 0

    def verdict(self) -> Verdict:
        self.looks += 1
        failed = self.looks == self.fails_at
        outcome = Outcome.FAIL if failed else Outcome.PASS
        return Verdict(outcome, (Finding("errors", Basis.RELATIVE, outcome, "as the test says"),))


@dataclass
class ScriptedJudge:
    """The judge's questions, answered by a script."""

    real: Judge
    says: Says
    rollback_needed: float = 1.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def learn(self, state: JudgeState, frame: object) -> tuple[JudgeState, dict[str, float]]:
        return state, {}

    def baseline(self, state: JudgeState) -> Baseline:
        return Baseline(100, 0.0, 35.0, healthy=True, reason="")

    def look(self, state: JudgeState, frame: object, **_: object) -> Look:
        return Look(state, self.says.verdict(), {})


class Counted(tuple[int, int]):
    """Requests of the canary, and of both tracks."""

    warnings = ()


class Split:
    """Metrics that show whatever split is in force, as (canary requests, all requests)."""

    def __init__(self, world: FakeWorld) -> None:
        self._world = world

    def read(self, since: datetime) -> Counted:
        return Counted((10 * self._world.router.weights.canary, 1000))


@dataclass
class Journeys:
    """Every change of the split that a rollout's own process put in force, by the rollout's name."""

    splits: dict[str, list[Weights]] = field(default_factory=dict)

    def watch(self, router: Any, name: str) -> Any:
        put = router.set_weights

        def set_weights(weights: Weights) -> None:
            before = router.weights
            put(weights)
            if router.weights != before:
                self.splits.setdefault(name, []).append(weights)

        router.set_weights = set_weights
        return router


def process(world: FakeWorld, journeys: Journeys, owner: str, says: Says, life: Life) -> Desk:
    """Return the desk of a fresh process on the world, which lives as long as said."""
    mine = world.seen_by_another()

    def open_run(plan: RolloutPlan, rollout: str) -> Run:
        ports = Ports.of(mine, rollout, owner=owner, notices=world.notices, clock=world.clock)
        mortal = replace(
            ports,
            router=Mortal(journeys.watch(ports.router, rollout), life),
            workloads=Mortal(ports.workloads, life),
            metrics=Split(world),
            ledger=Mortal(ports.ledger, life),
            lock=Mortal(ports.lock, life),
            signals=Mortal(ports.signals, life),
        )
        run = Run.begin(plan, mortal)
        run.judge = ScriptedJudge(run.judge, says)  # type: ignore[assignment]
        return run

    return Desk(mine, open_run, lambda _: mine, world.clock, world.notices, owner)


def started(world: FakeWorld, plan: RolloutPlan, rollout: str, who: str) -> Started:
    return Started(at=world.clock.time, rollout=rollout, plan=plan, who=who, backend="fake")
