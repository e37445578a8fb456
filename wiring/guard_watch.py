"""Looks for rollouts whose owner is gone, again and again, and lets them be gone on with."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from conductor.commands import commands
from conductor.commands.commands import Begun, Desk
from conductor.commands.guard import Guard
from rollout.errors import LockedError, PlanError, RolloutError
from rollout.plan import RolloutPlan
from wiring.command_contexts import command_contexts
from wiring.composition import open_command_context
from wiring.hook_commands import trust, trusted_files
from wiring.interruption import interruptible
from wiring.metrics_endpoint import Looks
from wiring.target import Target
from wiring.terminal import print_line

ALL_WELL = "every rollout has its owner, or has ended"


def _unchanged(desk: Desk) -> Desk:
    return desk


@dataclass(slots=True)
class Watch:
    """One guard that looks again and again, at worlds that may have been started anew in between."""

    target: Target
    plan: Path
    resume: Callable[[Target], Callable[[Begun], str]]
    """Returns what goes on with a rollout of a target."""
    report: Callable[[str], None]
    """Takes each line on what was done."""
    prepare: Callable[[Desk], Desk] = _unchanged
    """Returns the context that is to be used instead of the plain one."""
    looks: Looks = field(default_factory=Looks)
    reported: int = 0
    """Lines so far; there are some where it could not look."""
    _guards: dict[str, Guard] = field(default_factory=dict)
    """By service."""

    def look(self) -> bool:
        """Look once at every service, report what was done, and return whether it could look at all of them."""
        before, looked = self._deeds, True
        try:
            for service, open_context in command_contexts(self.target, self.plan).items():
                looked = self._look_at(service, open_context) and looked
        except PlanError:
            raise
        except RolloutError as error:
            self._report(f"cannot look now: {error}")
            looked = False
        self.looks.note(looked=looked, actions=self._deeds - before)
        return looked

    def _look_at(self, service: str, open_context: Callable[[], Desk]) -> bool:
        try:
            for line in self._guard_of(service, self.prepare(open_context())).look():
                self._report(line)
        except RolloutError as error:  # the others are looked after all the same
            self._report(f"cannot look{f' at {service}' if service else ''} now: {error}")
            return False
        return True

    def _report(self, line: str) -> None:
        self.reported += 1
        self.report(line)

    def _guard_of(self, service: str, desk: Desk) -> Guard:
        from wiring.prefect_runs import PrefectRuns  # httpx comes with it

        guard = self._guards.get(service) or Guard(desk, self.resume(self.target), PrefectRuns.from_environment())
        self._guards[service], guard.desk = guard, desk
        return guard

    @property
    def _deeds(self) -> int:
        return sum(guard.deeds for guard in self._guards.values())


def resume_here(target: Target, prepare: Callable[[Desk], Desk] = _unchanged) -> Callable[[Begun], str]:
    """Return what goes on with a rollout in this process, to its end."""

    def resume(rollout: Begun) -> str:
        ended = commands.resume(prepare(open_command_context(target, rollout.started.plan)), rollout)
        return f"{rollout.name}: {ended.state}: {ended.reason}"

    return resume


def resume_in_own_process(target: Target) -> Callable[[Begun], str]:
    """Return what lets a process of its own go on with a rollout."""
    return ResumeProcesses(target).resume


@dataclass(slots=True)
class ResumeProcesses:
    """Processes of their own that go on: a bake of a day must not keep the guard from its other work."""

    target: Target
    children: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def resume(self, rollout: Begun) -> str:
        """Let a process go on with a rollout, unless the last one is still about to.

        Raises
        ------
        LockedError
            When it is.
        """
        if (child := self.children.get(rollout.name)) and child.poll() is None:
            raise LockedError(f"process {child.pid} is about to go on with it")
        plan = rollout.started.plan.model_dump(mode="json")
        where, files = self.target.model_dump(mode="json"), [str(file) for file in trusted_files()]
        what = json.dumps({"target": where, "plan": plan, "rollout": rollout.name, "files": files})
        command = [sys.executable, "-m", "wiring.guard_watch", what]
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        self.children[rollout.name] = child
        return f"{rollout.name}: process {child.pid} goes on with it"


def _go_on(what: str) -> None:
    read = json.loads(what)
    target = Target.model_validate(read["target"])
    for file in read["files"]:
        trust(Path(file))
    desk = open_command_context(target, RolloutPlan.model_validate(read["plan"]))
    (rollout,) = [begun for begun in commands.unfinished(desk.world) if begun.name == read["rollout"]]
    with interruptible():
        try:
            _print(resume_here(target)(rollout))
        except RolloutError as error:
            _print(f"{rollout.name}: {error}")


def _print(line: str) -> None:
    print_line(f"{datetime.now(UTC):%H:%M:%S}  {line}")


if __name__ == "__main__":
    _go_on(sys.argv[1])
