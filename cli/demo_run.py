"""The demonstration: a whole rollout on this machine, with every part real but Kubernetes."""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import sleep

from rich.console import Console

import backends.local.environment as local
from backends.local.children import Child
from cli.live_page import screen_on
from cli.rollout_end import EXIT_CODES, describe_end
from flows.server.prefect_server import PrefectServer, served_rollout
from loadtest.load_spec import LoadSpec
from loadtest.runner import LoadRun, steady_spec
from report.rollout.links import links_of
from report.rollout.page import render
from rollout.errors import Interrupted, PlanError, SetupError, cause
from rollout.events import (
    Ended,
    EndState,
    Fault,
    StepStarted,
)
from rollout.formatting import format_span
from rollout.model import AT_REST, Track
from rollout.plan import RolloutPlan
from rollout.ports import Ledger, Signal, SignalKind
from rollout.quantities import parse_duration
from rollout.record import RolloutRecord, dump_record
from sample.faults import GRPC_PATH, Protocol, parse_fault
from wiring.composition import Target, new_rollout_id, who_runs
from wiring.files import write_text
from wiring.interruption import interruptible
from wiring.metrics_endpoint import serving
from wiring.settings import Settings
from wiring.synthetic_load import load_summary

_LOOK = timedelta(milliseconds=250)
_OUTAGE_LASTS = timedelta(seconds=10)
_FLOW_BEGINS_WITHIN = timedelta(minutes=3)
_ABORT_WITHIN = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class FaultAt:
    """A fault, and the moment in the rollout at which the demo puts it into the service."""

    text: str
    step: str
    after: timedelta
    lasts: timedelta | None

    @classmethod
    def parse(cls, text: str, at: str, lasts: str, plan: RolloutPlan) -> FaultAt:
        """Return the fault that three options name.

        Parameters
        ----------
        text
            What happens, such as `errors=5%`, `latency=+50%`, `404`, `grpc-unavailable=20%`, `crash-loop`, `outage`.
        at
            Where: a step's name and seconds after its start, such as `introduce+5`; empty for the first step + 5.
        lasts
            How long, such as `10s`; empty for as long as the rollout goes on, 10 s for an outage.
        plan
            The plan whose steps may be named.

        Raises
        ------
        PlanError
            Naming the option, its value and what is allowed.
        """
        parse_fault(text)
        steps = [step.name for step in plan.steps]
        step, _, seconds = (at or f"{steps[0]}+5").partition("+")
        if step not in steps or not seconds.removesuffix("s").replace(".", "", 1).isdigit():
            raise PlanError(f"--at: got {at!r}, allowed: STEP+SECONDS with STEP one of {', '.join(steps)}")
        return cls(text, step, timedelta(seconds=float(seconds.removesuffix("s"))), _lasting(lasts, text))

    @property
    def track(self) -> Track | None:
        """Which track it hits; None for both."""
        return None if parse_fault(self.text).everywhere else Track.CANARY


def _lasting(lasts: str, text: str) -> timedelta | None:
    if not lasts:
        return _OUTAGE_LASTS if parse_fault(text).everywhere else None
    try:
        return parse_duration(lasts)
    except ValueError as error:
        raise PlanError(f"--for: got {lasts!r}, {error}") from error


@dataclass(frozen=True, slots=True)
class Demo:
    """What the demo is asked to do."""

    plan: RolloutPlan
    state: Path
    rate: float
    seed: int
    fault: FaultAt | None = None
    record: Path | None = None
    report: Path | None = None
    keep: bool = False
    ui_port: int = 0
    protocol: Protocol = Protocol.HTTP
    noise: str = ""
    """A fault that both versions have all the time."""
    file: Path = Path("demo.yaml")
    """Where the plan stands."""


def run_demo(demo: Demo, console: Console) -> int:
    """Run a rollout from start to report, and return the exit code that tells how it ended.

    Raises
    ------
    SetupError
        Something that is needed is missing; nothing is left running.
    """
    local.end_leftovers(demo.state)
    rollout_id = new_rollout_id(demo.plan, datetime.now(UTC))
    with interruptible(), ExitStack() as parts:
        prefect = parts.enter_context(PrefectServer(demo.state, port=demo.ui_port))
        world = _start(demo)
        parts.callback(world.stop)
        exported = parts.enter_context(serving(Target(state=demo.state.absolute()), Path("rollout.yaml")))
        load = LoadRun(_order(demo, world), demo.state / "load")
        parts.callback(load.stop)
        load.start()
        console.print("started: gateway, Prometheus, the service and its load; waiting for Prefect's server")
        console.print(
            f"gateway {world.gateway_url}   {demo.rate:g} requests/s   Prefect UI {prefect.url}", soft_wrap=True
        )
        console.print(f"Prometheus {world.prometheus_url}   own metrics {exported}", soft_wrap=True)
        prefect.wait_ready()
        ledger = world.ledger(rollout_id)
        parts.callback(_write_out, demo, ledger, rollout_id, console)
        before = load.stats()  # what was sent before the rollout began is no part of it
        flow = parts.enter_context(served_rollout(demo.state, prefect, _parameters(demo, rollout_id), file=demo.file))
        try:
            _follow(demo, world, ledger, flow, console)
        except BaseException as interruption:
            _abort(world, ledger, rollout_id, interruption)
            raise
        load.stop()
        ledger.append(load_summary(load.stats().since(before), datetime.now(UTC), synthetic=False))
        if demo.keep:
            _keep(prefect, console)
        return EXIT_CODES[_ended(ledger).state]


def _start(demo: Demo) -> local.World:
    return local.start(
        demo.state,
        plan=demo.plan,
        scrape=demo.plan.scrape,
        seed=demo.seed,
        owner_pid=os.getpid(),
        protocol=demo.protocol,
        noise=demo.noise,
    )


def _order(demo: Demo, world: local.World) -> LoadSpec:
    if demo.protocol is Protocol.HTTP:
        return steady_spec(world.gateway_url, demo.rate)
    return steady_spec(f"{world.gateway_url}{GRPC_PATH}", demo.rate, protocol="grpc")


def _note(demo: Demo) -> str:
    parts = ["demo", f"seed {demo.seed}"]
    parts += ["gRPC"] if demo.protocol is Protocol.GRPC else []
    parts += [f"noise {demo.noise}"] if demo.noise else []
    parts += [f"fault {demo.fault.text}"] if demo.fault else []
    return ", ".join(parts)


def _parameters(demo: Demo, rollout_id: str) -> dict[str, object]:
    return {
        "plan": demo.plan.model_dump(mode="json"),
        "target": Target(state=demo.state.absolute()).model_dump(mode="json"),
        "rollout_id": rollout_id,
        "waits_for_person": False,
        "note": _note(demo),
    }


def _follow(demo: Demo, world: local.World, ledger: Ledger, flow: Child, console: Console) -> None:
    """Show the rollout until it has ended, and put the fault into the service when its moment comes."""
    fault, begins_by = demo.fault, datetime.now(UTC) + _FLOW_BEGINS_WITHIN
    with screen_on(console) as screen:
        while (record := ledger.read()).ended is None:
            now = datetime.now(UTC)
            if fault and _is_due(fault, record, now):
                _inject(fault, world, ledger, now)
                fault = None
            screen.show(record, demo.plan)
            if flow.ended or (record.started is None and now > begins_by):
                _note_lost_flow(demo, ledger, world)
            sleep(_LOOK.total_seconds())
        screen.show(record, demo.plan)


def _is_due(fault: FaultAt, record: RolloutRecord, now: datetime) -> bool:
    started = [event.at for event in record.of(StepStarted) if event.step == fault.step]
    return bool(started) and now >= started[0] + fault.after


def _inject(fault: FaultAt, world: local.World, ledger: Ledger, now: datetime) -> None:
    world.inject(fault.track, fault.text, fault.lasts)
    where = "canary" if fault.track else "both tracks"
    lasts = f" for {format_span(fault.lasts)}" if fault.lasts else ""
    ledger.append(Fault(at=now, what=f"{fault.text} on {where}{lasts}"))


def _note_lost_flow(demo: Demo, ledger: Ledger, world: local.World) -> None:
    if ledger.read().ended is None:
        world.router.set_weights(AT_REST)
        reason = (
            f"the flow's process ended without a word, all traffic was put on stable; see {demo.state / 'flow.log'}"
        )
        ledger.append(Ended(at=datetime.now(UTC), state=EndState.FAILED, reason=reason))


def _abort(world: local.World, ledger: Ledger, rollout_id: str, interruption: BaseException) -> None:
    """Ask the rollout to end on stable, as `canary abort` does, and give it a moment."""
    abort = Signal(SignalKind.ABORT, f"demo stopped by {cause(interruption)}", who_runs(), datetime.now(UTC))
    world.signals(rollout_id).send(abort)
    until = datetime.now(UTC) + _ABORT_WITHIN
    while ledger.read().started and ledger.read().ended is None and datetime.now(UTC) < until:
        sleep(_LOOK.total_seconds())


def _write_out(demo: Demo, ledger: Ledger, rollout_id: str, console: Console) -> None:
    """Write report and record, and say in one line how it ended."""
    record = ledger.read()
    if record.started is None:
        return
    report = demo.report or demo.state / "rollouts" / rollout_id / "report.html"
    write_text(report, render(record, links_of(record, grafana=Settings().grafana)))
    if demo.record:
        write_text(demo.record, dump_record(record))
    if record.ended:
        console.print(describe_end(record.ended), soft_wrap=True)
    console.print(f"report: {report}", soft_wrap=True)


def _ended(ledger: Ledger) -> Ended:
    ended = ledger.read().ended
    if ended is None:
        raise SetupError("the rollout has no end in its record")
    return ended


def _keep(prefect: PrefectServer, console: Console) -> None:
    console.print(f"Prefect UI: {prefect.url}   (Ctrl-C ends it)", soft_wrap=True)
    with suppress(Interrupted):
        while True:
            sleep(1)
