"""A release in this very process: with Prefect where its API answers, plainly where it does not."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import httpx
from rich.console import Console
from rich.text import Text

from backends.local.guard_heartbeat import read_guard_status
from cli.exit_codes import EXIT_CODES
from cli.live_page import Log, Screen, screen_on
from conductor.commands.commands import left_behind
from conductor.recovery import check_open
from flows.server.prefect_address import answers, prefect_url
from report.rollout.links import links_of
from report.rollout.page import render
from rollout.errors import RolloutError, SetupError, UnavailableError
from rollout.plan import RolloutPlan
from rollout.ports import Ledger
from rollout.record import EndState, RolloutRecord, Started, dump_record
from wiring.composition import new_rollout_id, open_desk, open_world, who_runs
from wiring.files import write_text
from wiring.interruption import interruptible
from wiring.notifications import await_delivery
from wiring.preflight import check_fitness
from wiring.settings import Settings
from wiring.target import Target

log = logging.getLogger(__name__)
_LOOK_SECONDS = 1.0
_PREFECT_RETRIES = "2"
"""Seconds, not the minute of Prefect's own five: whoever waits for the end is not kept by a server that is gone."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be released, where, and what is to be written about it."""

    plan: RolloutPlan
    target: Target
    name: str = ""
    note: str = ""
    waits: bool = True
    """Whether to hold for a person at a deadline without enough evidence."""
    record: Path | None = None
    report: Path | None = None


def run_release(order: Order, console: Console) -> int:
    """Carry a rollout out, show it, and return the exit code that tells how it ended.

    Raises
    ------
    PlanError
        Preflight found something to mend; nothing was touched.
    LockedError
        Somebody else steers the service.
    """
    with suppress(SetupError):  # preflight names each thing that is missing
        order = replace(order, name=order.name or left_behind(open_desk(order.target, order.plan), order.plan))
    if not _has_begun(order):
        check_fitness(order.plan, order.target)
    if order.target.backend == "local" and not (guard := read_guard_status(order.target.state)).lives:
        told = f"no guard looks after this rollout ({guard.description}): `canary guard` in another terminal does"
        console.print(told, soft_wrap=True)
    rollout_id = order.name or new_rollout_id(order.plan, datetime.now(UTC))
    ledger = open_world(order.target, order.plan).ledger(rollout_id)
    _check_open(ledger, order, rollout_id)
    console.print(f"rollout {rollout_id} on the {order.target.backend} backend", soft_wrap=True)
    with interruptible(), _told(ledger, order, console):
        is_told = _carry_out(order, rollout_id, console)
    record = ledger.read()
    code = EXIT_CODES[record.ended.state] if record.ended else EXIT_CODES[EndState.FAILED]
    return code if is_told else _leave(code)


def _leave(code: int) -> NoReturn:
    """End now: on the usual way out Prefect tries for seven seconds an event to tell a server that is gone."""
    await_delivery()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _has_begun(order: Order) -> bool:
    with suppress(SetupError):
        return bool(order.name) and open_world(order.target, order.plan).ledger(order.name).read().started is not None
    return False


def _check_open(ledger: Ledger, order: Order, rollout_id: str) -> None:
    """Refuse a name that was used up before any of its old record is shown."""
    asked = Started(
        at=datetime.now(UTC), rollout=rollout_id, plan=order.plan, who=who_runs(), backend=order.target.backend
    )
    with suppress(UnavailableError, SetupError):  # it is looked at again once the lock is held
        check_open(ledger.read(), asked)


def _carry_out(order: Order, rollout_id: str, console: Console) -> bool:
    """Carry it out; return whether Prefect, where it was there at the start, still is at the end."""
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")  # the rollout is told from its record
    os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", _PREFECT_RETRIES)
    from flows.canary import canary_rollout

    url = prefect_url()
    has_prefect = bool(url) and answers(url)
    if url:
        said = "Prefect:" if has_prefect else "Prefect does not answer, the rollout goes on without it:"
        console.print(f"{said} {url}", soft_wrap=True)
    release = _under_prefect if has_prefect else canary_rollout.fn
    release(order.plan, order.target, rollout_id, waits_for_person=order.waits, note=order.note)
    return not has_prefect or answers(url)


def _under_prefect(*args: Any, **kwargs: Any) -> None:
    from prefect.exceptions import PrefectException

    from flows.canary import canary_rollout

    try:
        found: object = canary_rollout(*args, **kwargs, return_state=True).result(raise_on_failure=False)
    except (httpx.HTTPError, PrefectException) as error:  # it went away meanwhile; the record says how it ended
        log.warning("Prefect was not told of the end: %s", error)
        return
    if isinstance(found, RolloutError):  # a rollback is a failed run too, and no error
        raise found


@contextmanager
def _told(ledger: Ledger, order: Order, console: Console) -> Iterator[None]:
    """Show the rollout from its record while the body runs, and write report and record on the way out."""
    done = threading.Event()
    with screen_on(console) as screen:
        teller = threading.Thread(target=_tell, args=(ledger, order.plan, screen, done), daemon=True)
        teller.start()
        try:
            yield
        finally:
            done.set()
            teller.join()
            with suppress(RolloutError):
                _write_out(order, ledger.read(), console)


def _tell(ledger: Ledger, plan: RolloutPlan, screen: Screen | Log, done: threading.Event) -> None:
    while True:
        is_last = done.wait(_LOOK_SECONDS)
        with suppress(RolloutError, OSError):  # what cannot be read or shown now is shown at the next look
            screen.show(ledger.read(), plan)
        if is_last:
            return


def _links(order: Order, record: RolloutRecord) -> dict[str, str]:
    settings, namespace = Settings(), order.target.namespace if order.target.backend == "cluster" else ""
    return links_of(record, grafana=settings.grafana, kiali=settings.kiali, namespace=namespace)


def _write_out(order: Order, record: RolloutRecord, console: Console) -> None:
    if record.started is None:
        return
    if order.record:
        write_text(order.record, dump_record(record))
    if order.report:
        write_text(order.report, render(record, _links(order, record)))
        console.print(f"report: {order.report}", soft_wrap=True)
    if record.ended:
        console.print(Text.assemble((record.ended.state, "bold"), f": {record.ended.reason}"), soft_wrap=True)
