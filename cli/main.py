"""`canary`: the command line. What must work when Prefect is down never imports it."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.exceptions import TyperException

from cli.usage_errors import told
from rollout.errors import Interrupted, LockedError, PlanError, RolloutError
from rollout.plan import RolloutPlan
from wiring.files import checked_output, read_live_plan, read_text, write_text
from wiring.settings import Settings
from wiring.terminal import Terminal, complain, log_to_terminal, print_line

if TYPE_CHECKING:
    from cli.demo import FaultAt
    from sample.faults import Protocol

_LOST_OUTPUT = (errno.ENOSPC, errno.EPIPE, errno.EIO)
"""What writing to a full disk, a pipe that nobody reads, or a terminal that is gone says."""
app = typer.Typer(
    name="canary",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ROOMS = {
    "cli.judging": ("backtest", "plan"),
    "cli.run": ("run", "preflight"),
    "cli.promote": ("promote",),
    "cli.loadtest": ("loadtest",),
    "cli.emergency": ("status", "abort", "restore", "resume"),
    "cli.signal": ("pause", "skip", "promote-now", "approve", "refuse", "complain"),
    "cli.webhook": ("webhook",),
    "cli.guard": ("guard",),
    "cli.notify": ("notify",),
    "cli.metrics": ("metrics",),
    "cli.watch": ("watch",),
    "cli.up": ("up",),
    "cli.drill": ("drill",),
    __name__: ("demo", "report"),
}
"""Where each command is found."""


def register(words: Sequence[str]) -> None:
    """Add the commands of the one module that these words ask for, else of all: an abort must not wait for the rest."""
    named = next((word for word in words if not word.startswith("-")), "")
    wanted = [room for room, names in ROOMS.items() if named in names] or list(ROOMS)
    for room in wanted:
        if room != __name__:
            import_module(room).register(app)


def _tell_version(asked: bool) -> None:
    if asked:
        print(f"canary {version('canary-pipeline')}")  # noqa: T201
        raise typer.Exit


@app.callback()
def _canary(
    asks_version: Annotated[
        bool, typer.Option("--version", help="Say which version this is.", is_eager=True, callback=_tell_version)
    ] = False,
) -> None:
    """Canary releases judged at every scrape."""


Fault = Annotated[
    str,
    typer.Option(
        help="errors=5%, errors=0.5%, latency=+50%, latency=800ms, crash-loop, outage (both tracks), 404 or 404=50%"
        " (any status 400-599), cut-off=10% (half an answer), reset=10% (none), grpc-unavailable=20% (any gRPC status)."
    ),
]
Noise = Annotated[str, typer.Option(help="A fault that both versions have all the time, such as 404=10%.")]
Speaks = Annotated[
    str, typer.Option("--protocol", help="What the service speaks: http or grpc; unless said, what the fault needs.")
]
State = Annotated[Path | None, typer.Option(help="State folder of the embedded backend.")]


@app.command()
def demo(
    plan: Annotated[Path, typer.Option(help="The rollout plan.")] = Path("demo.yaml"),
    fault: Fault = "",
    at: Annotated[str, typer.Option(help="When the fault comes: STEP+SECONDS, such as introduce+5.")] = "",
    lasts: Annotated[str, typer.Option("--for", help="How long the fault lasts, such as 10s.")] = "",
    noise: Noise = "",
    protocol: Speaks = "",
    rate: Annotated[float, typer.Option(min=1, max=5000, help="Requests a second through the gateway.")] = 500.0,
    seed: Annotated[int, typer.Option(help="Seed of the sample service.")] = 1,
    record: Annotated[Path | None, typer.Option(help="Where to write the record as JSON.")] = None,
    report: Annotated[Path | None, typer.Option(help="Where to write the report as HTML.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Hold the Prefect UI open at the end.")] = False,
    ui_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the Prefect UI; 0: a free one.")] = 0,
    state: State = None,
) -> None:
    """Run a whole canary rollout on this machine, and write its report.

    Exit codes: 0 promoted, 3 rolled back, 4 held or inconclusive, 2 bad input, 1 could not run.
    """
    from cli.demo import Demo, run_demo

    parsed = read_live_plan(plan)
    speaks = _protocol(protocol, noise, fault)
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
        protocol=speaks,
        noise=noise,
        file=plan,
    )
    raise typer.Exit(run_demo(options, Terminal()))


def _fault(text: str, at: str, lasts: str, plan: RolloutPlan) -> FaultAt | None:
    from cli.demo import FaultAt

    if text:
        return FaultAt.parse(text, at, lasts, plan)
    if at or lasts:
        raise PlanError(f"{'--at' if at else '--for'}: got {at or lasts!r} without --fault, allowed: together with it")
    return None


def _protocol(wanted: str, noise: str, fault: str) -> Protocol:
    """Return what the service has to speak."""
    from sample.faults import Protocol, parse_noise, protocol_of

    if wanted not in ("", *Protocol):
        raise PlanError(f"--protocol: got {wanted!r}, allowed: {', '.join(Protocol)}")
    if noise:
        parse_noise(noise)
    return protocol_of(*filter(None, (noise, fault)), wanted=wanted)


@app.command()
def report(
    record: Annotated[Path, typer.Argument(help="A record (JSON), or the folder of a rollout.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to write; unless said, beside the record.")
    ] = None,
) -> None:
    """Make the HTML report of a rollout again, from its record alone."""
    from backends.local.ledger import LocalLedger
    from report.rollout.page import render
    from rollout.record import parse_record

    if record.is_dir() and not (record / "events.jsonl").is_file():
        raise PlanError(f"{record}: no rollout, allowed: a folder that holds an events.jsonl, or a record (JSON)")
    found = LocalLedger(record).read() if record.is_dir() else parse_record(read_text(record), source=str(record))
    output = output or (record / "report.html" if record.is_dir() else record.with_suffix(".html"))
    write_text(output, render(found))
    for damage in found.damage:
        complain(f"left out: {damage}")
    print_line(f"report: {output}")


def main() -> None:
    """Run the command line: an error of ours is a line or two, never a traceback."""
    log_to_terminal()
    register(sys.argv[1:])
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
        sys.exit(code)
    except TyperException as error:
        _fail(told(error), code=2)
    except typer.Abort:
        sys.exit(130)
    except (PlanError, LockedError) as error:
        _fail(error, code=2)
    except RolloutError as error:
        _fail(error, code=1)
    except OSError as error:
        if error.filename is not None or error.errno not in _LOST_OUTPUT:
            raise
        _lose_output()
        _fail(f"standard output: cannot be written: {error.strerror}", code=1)
    except Interrupted as interruption:
        sys.exit(interruption.exit_code)


def _lose_output() -> None:
    """Let what is still to be written go nowhere: Python would try once more on its way out, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(error: RolloutError | str, *, code: int) -> None:
    if text := str(error):
        complain(f"canary: {text}")
    sys.exit(code)


if __name__ == "__main__":
    main()
