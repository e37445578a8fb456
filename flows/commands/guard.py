"""`canary guard`: takes over rollouts whose process is gone. One process; needs neither Prefect nor Prometheus."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import sleep
from typing import Annotated

import typer
from rich.console import Console

from conductor import orders
from conductor.guard import Guard
from conductor.orders import Begun
from flows.commands.metrics import LOOPBACK, Looks, serving
from flows.commands.options import PlanOption, takes_target
from flows.commands.orders import desk_at
from flows.interruption import Interrupted, interruptible
from flows.server.runs import PrefectRuns
from flows.targets import Target
from flows.wiring import open_desk
from rollout.errors import LockedError, PlanError, RolloutError
from rollout.plan import RolloutPlan
from rollout.quantities import parse_duration

_SHORTEST_SECONDS = 1.0


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command(name="guard")(guard)


@takes_target
def guard(
    target: Target,
    once: Annotated[
        bool, typer.Option("--once", help="Look once, do what is to be done to its end, and exit.")
    ] = False,
    every: Annotated[str, typer.Option(help="How often to look.")] = "10s",
    metrics_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Serve metrics to Prometheus there; 0: a free port.")
    ] = None,
    metrics_host: Annotated[str, typer.Option(help="Where to listen for that; a pod says 0.0.0.0.")] = LOOPBACK,
    plan: PlanOption = Path("rollout.yaml"),
) -> None:
    """Look after rollouts whose owner is gone: restore or resume them, as their plan says in when_orphaned.

    After a promotion it also scales the old version to zero, once the plan's retention is over.
    Exit codes with --once: 0 looked, 1 could not look, 2 bad input.
    """
    pause, beside = _checked(every), Beside(target)
    watch = Watch(target, plan, resume_here(target) if once else beside.resume)
    with suppress(Interrupted), interruptible(), ExitStack() as parts:
        if metrics_port is not None:
            served = serving(target, plan, port=metrics_port, host=metrics_host, also=[watch.looks])
            _say(f"metrics: {parts.enter_context(served)}")
        while True:
            looked = watch.look()
            if once:
                raise typer.Exit(0 if looked else 1)
            sleep(pause)


@dataclass(slots=True)
class Watch:
    """One guard that looks again and again, at a world that may have been started anew in between."""

    target: Target
    plan: Path
    resume: Callable[[Begun], str]
    looks: Looks = field(default_factory=Looks)
    _guard: Guard | None = None

    def look(self) -> bool:
        """Look once, tell what was done, and return whether it could look."""
        before, looked = self._deeds, True
        try:
            for line in self._at_present().look():
                _say(line)
        except PlanError:
            raise
        except RolloutError as error:
            _say(f"cannot look now: {error}")
            looked = False
        self.looks.note(looked=looked, actions=self._deeds - before)
        return looked

    @property
    def _deeds(self) -> int:
        return self._guard.deeds if self._guard else 0

    def _at_present(self) -> Guard:
        desk = desk_at(self.target, self.plan)
        if self._guard is None:
            self._guard = Guard(desk, self.resume, PrefectRuns.from_environment())
        self._guard.desk = desk
        return self._guard


def resume_here(target: Target) -> Callable[[Begun], str]:
    """Return what goes on with a rollout in this process, to its end."""

    def resume(one: Begun) -> str:
        ended = orders.resume(open_desk(target, one.started.plan), one)
        return f"{one.name}: {ended.state}: {ended.reason}"

    return resume


@dataclass(slots=True)
class Beside:
    """Processes of their own that go on: a bake of a day must not keep the guard from its other work."""

    target: Target
    children: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def resume(self, one: Begun) -> str:
        """Let a process go on with a rollout, unless the last one is still about to.

        Raises
        ------
        LockedError
            When it is.
        """
        if (child := self.children.get(one.name)) and child.poll() is None:
            raise LockedError(f"process {child.pid} is about to go on with it")
        plan = one.started.plan.model_dump(mode="json")
        order = json.dumps({"target": self.target.model_dump(mode="json"), "plan": plan, "rollout": one.name})
        command = [sys.executable, "-m", "flows.commands.guard", order]
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        self.children[one.name] = child
        return f"{one.name}: process {child.pid} goes on with it"


def _go_on(order: str) -> None:
    read = json.loads(order)
    target = Target.model_validate(read["target"])
    desk = open_desk(target, RolloutPlan.model_validate(read["plan"]))
    (one,) = [one for one in orders.unfinished(desk.world) if one.name == read["rollout"]]
    with interruptible():
        try:
            _say(resume_here(target)(one))
        except RolloutError as error:
            _say(f"{one.name}: {error}")


def _checked(every: str) -> float:
    try:
        seconds = parse_duration(every).total_seconds()
    except ValueError as error:
        raise PlanError(f"--every: got {every!r}, {error}") from error
    if seconds < _SHORTEST_SECONDS:
        raise PlanError(f"--every: got {every!r}, allowed: {_SHORTEST_SECONDS:g}s or more")
    return seconds


def _say(line: str) -> None:
    Console(highlight=False).print(f"{datetime.now(UTC):%H:%M:%S}  {line}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    _go_on(sys.argv[1])
