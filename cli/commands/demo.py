"""`canary demo`: a whole rollout on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rollout.errors import PlanError
from rollout.plan import RolloutPlan
from sample.faults import Protocol, parse_noise, protocol_of
from wiring.files import checked_output, read_live_plan
from wiring.settings import Settings
from wiring.terminal import Terminal

if TYPE_CHECKING:
    from cli.demo_run import FaultAt

Fault = Annotated[
    str,
    typer.Option(
        help="errors=5%, errors=0.5%, latency=+50%, latency=800ms, crash-loop, outage (both tracks), 404 or 404=50%"
        " (any status 400-599), cut-off=10% (half an answer), reset=10% (none), grpc-unavailable=20% (any gRPC status)."
    ),
]


def demo(
    plan: Annotated[Path, typer.Option(help="The rollout plan.")] = Path("demo.yaml"),
    fault: Fault = "",
    at: Annotated[str, typer.Option(help="When the fault comes: STEP+SECONDS, such as introduce+5.")] = "",
    lasts: Annotated[str, typer.Option("--for", help="How long the fault lasts, such as 10s.")] = "",
    noise: Annotated[str, typer.Option(help="A fault that both versions have all the time, such as 404=10%.")] = "",
    protocol: Annotated[
        str, typer.Option(help="What the service speaks: http or grpc; unless said, what the fault needs.")
    ] = "",
    rate: Annotated[float, typer.Option(min=1, max=5000, help="Requests a second through the gateway.")] = 500.0,
    seed: Annotated[int, typer.Option(help="Seed of the sample service.")] = 1,
    record: Annotated[Path | None, typer.Option(help="Where to write the record as JSON.")] = None,
    report: Annotated[Path | None, typer.Option(help="Where to write the report as HTML.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Hold the Prefect UI open at the end.")] = False,
    ui_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the Prefect UI; 0: a free one.")] = 0,
    state: Annotated[Path | None, typer.Option(help="State folder of the embedded backend.")] = None,
) -> None:
    """Run a whole canary rollout on this machine, and write its report.

    Exit codes: 0 promoted, 3 rolled back, 4 held or inconclusive, 2 bad input, 1 could not run.
    """
    from cli.demo_run import Demo, run_demo  # the gateway, the load and Prefect's server come with it

    parsed = read_live_plan(plan)
    options = Demo(
        plan=parsed,
        state=state or Settings().state / "demo",
        rate=rate,
        seed=seed,
        fault=_fault(fault, at, lasts, parsed),
        record=checked_output("--record", record),
        report=checked_output("--report", report),
        keep=keep,
        ui_port=ui_port,
        protocol=_protocol(protocol, noise, fault),
        noise=noise,
        file=plan,
    )
    raise typer.Exit(run_demo(options, Terminal()))


def _fault(text: str, at: str, lasts: str, plan: RolloutPlan) -> FaultAt | None:
    from cli.demo_run import FaultAt

    if text:
        return FaultAt.parse(text, at, lasts, plan)
    if at or lasts:
        raise PlanError(f"{'--at' if at else '--for'}: got {at or lasts!r} without --fault, allowed: together with it")
    return None


def _protocol(wanted: str, noise: str, fault: str) -> Protocol:
    """Return what the service has to speak."""
    if wanted not in ("", *Protocol):
        raise PlanError(f"--protocol: got {wanted!r}, allowed: {', '.join(Protocol)}")
    if noise:
        parse_noise(noise)
    return protocol_of(*filter(None, (noise, fault)), wanted=wanted)
