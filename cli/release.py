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

from backends.local.guard_heartbeat import read_guard_status
from cli.live_page import Log, Screen, screen_on
from cli.rollout_end import EXIT_CODES, describe_end
from conductor.commands.commands import left_behind
from conductor.recovery import check_open
from flows.page.prefect_address import answers, prefect_url
from report.rollout.links import links_of
from report.rollout.page import render
from rollout.errors import RolloutError, SetupError, UnavailableError
from rollout.events import EndState, Started
from rollout.plan import RolloutPlan
from rollout.ports import Ledger
from rollout.record import RolloutRecord, dump_record
from wiring.composition import new_rollout_id, open_command_context, open_world, who_runs
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
class Release:
    """What is to be released, where, and what is to be written about it."""

    plan: RolloutPlan
    target: Target
    name: str = ""
    note: str = ""
    waits: bool = True
    """Whether to hold for a person at a deadline without enough evidence."""
    record: Path | None = None
    report: Path | None = None


def run_release(release: Release, console: Console) -> int:
    """Carry a rollout out, show it, and return the exit code that tells how it ended.

    Raises
    ------
    PlanError
        Preflight found something to mend; nothing was touched.
    LockedError
        Somebody else steers the service.
    """
    with suppress(SetupError):  # preflight names each thing that is missing
        release = replace(
            release, name=release.name or left_behind(open_command_context(release.target, release.plan), release.plan)
        )
    if not _has_begun(release):
        check_fitness(release.plan, release.target)
    if release.target.backend == "local" and not (guard := read_guard_status(release.target.state)).lives:
        notice = f"no guard looks after this rollout ({guard.description}): `canary guard` in another terminal does"
        console.print(notice, soft_wrap=True)
    rollout_id = release.name or new_rollout_id(release.plan, datetime.now(UTC))
    ledger = open_world(release.target, release.plan).ledger(rollout_id)
    _check_open(ledger, release, rollout_id)
    console.print(f"rollout {rollout_id} on the {release.target.backend} backend", soft_wrap=True)
    with interruptible(), _shown(ledger, release, console):
        knows_end = _carry_out(release, rollout_id, console)
    record = ledger.read()
    code = EXIT_CODES[record.ended.state] if record.ended else EXIT_CODES[EndState.FAILED]
    return code if knows_end else _leave(code)


def _leave(code: int) -> NoReturn:
    """End now: on the usual way out Prefect tries for seven seconds an event to tell a server that is gone."""
    await_delivery()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _has_begun(release: Release) -> bool:
    with suppress(SetupError):
        return (
            bool(release.name)
            and open_world(release.target, release.plan).ledger(release.name).read().started is not None
        )
    return False


def _check_open(ledger: Ledger, release: Release, rollout_id: str) -> None:
    """Refuse a name that was used up before any of its old record is shown."""
    started = Started(
        at=datetime.now(UTC), rollout=rollout_id, plan=release.plan, who=who_runs(), backend=release.target.backend
    )
    with suppress(UnavailableError, SetupError):  # it is looked at again once the lock is held
        check_open(ledger.read(), started)


def _carry_out(release: Release, rollout_id: str, console: Console) -> bool:
    """Carry it out; return whether Prefect, where it was there at the start, still is at the end."""
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")  # the rollout is told from its record
    os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", _PREFECT_RETRIES)
    from flows.canary import canary_rollout

    url = prefect_url()
    has_prefect = bool(url) and answers(url)
    if url:
        answer = "Prefect:" if has_prefect else "Prefect does not answer, the rollout goes on without it:"
        console.print(f"{answer} {url}", soft_wrap=True)
    carry_out = _under_prefect if has_prefect else canary_rollout.fn
    carry_out(release.plan, release.target, rollout_id, waits_for_person=release.waits, note=release.note)
    return not has_prefect or answers(url)


def _under_prefect(*args: Any, **kwargs: Any) -> None:
    from prefect.exceptions import PrefectException

    from flows.canary import canary_rollout

    try:
        result: object = canary_rollout(*args, **kwargs, return_state=True).result(raise_on_failure=False)
    except (httpx.HTTPError, PrefectException) as error:  # it went away meanwhile; the record says how it ended
        log.warning("Prefect was not told of the end: %s", error)
        return
    if isinstance(result, RolloutError):  # a rollback is a failed run too, and no error
        raise result


@contextmanager
def _shown(ledger: Ledger, release: Release, console: Console) -> Iterator[None]:
    """Show the rollout from its record while the body runs, and write report and record on the way out."""
    done = threading.Event()
    with screen_on(console) as screen:
        showing = threading.Thread(target=_show_until, args=(ledger, release.plan, screen, done), daemon=True)
        showing.start()
        try:
            yield
        finally:
            done.set()
            showing.join()
            with suppress(RolloutError):
                _write_out(release, ledger.read(), console)


def _show_until(ledger: Ledger, plan: RolloutPlan, screen: Screen | Log, done: threading.Event) -> None:
    while True:
        is_last = done.wait(_LOOK_SECONDS)
        with suppress(RolloutError, OSError):  # what cannot be read or shown now is shown at the next look
            screen.show(ledger.read(), plan)
        if is_last:
            return


def _links(release: Release, record: RolloutRecord) -> dict[str, str]:
    settings, namespace = Settings(), release.target.namespace if release.target.backend == "cluster" else ""
    return links_of(record, grafana=settings.grafana, kiali=settings.kiali, namespace=namespace)


def _write_out(release: Release, record: RolloutRecord, console: Console) -> None:
    if record.started is None:
        return
    if release.record:
        write_text(release.record, dump_record(record))
    if release.report:
        write_text(release.report, render(record, _links(release, record)))
        console.print(f"report: {release.report}", soft_wrap=True)
    if record.ended:
        console.print(describe_end(record.ended), soft_wrap=True)
