"""Synthetic load for as long as a rollout goes on: a child of the process that carries it out, and gone with it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from conductor.load.fallback_metrics import FallbackMetrics
from conductor.load.topup import FIRST_RATE
from conductor.state.rollout_run import Run
from loadtest.allowed_targets import sending_target
from loadtest.load_spec import LoadSpec, Request
from loadtest.results import TrackResults, load_results
from loadtest.runner import LoadRun
from loadtest.schedule import steady
from loadtest.stats import LoadStats
from rollout.errors import PlanError, UnavailableError
from rollout.events import ClientTrack, LoadSummary
from rollout.load import LoadMode, LoadPlan
from rollout.model import Trouble


@contextmanager
def synthetic_load(run: Run, gateway: str | None) -> Iterator[None]:
    """Send what the plan's load asks for while the body runs, and record what the clients counted.

    Raises
    ------
    PlanError
        The plan asks for load, and neither it nor the backend says where to; or the target is not allowed.
    """
    plan = run.plan.load
    if plan.mode is LoadMode.OFF:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="canary-load-") as folder:
        load = LoadRun(order_of(plan, gateway, timeout_seconds=run.plan.timeout.total_seconds()), Path(folder))
        try:
            load.start()
            run.load.rate = first_rate(plan)
            metrics = FallbackMetrics(run.ports.metrics, load, run.load, run.ports.clock)
            run.ports = replace(run.ports, load=load, metrics=metrics)
            yield
        finally:
            load.stop()
            _note(run, load)


def order_of(plan: LoadPlan, gateway: str | None, *, timeout_seconds: float) -> LoadSpec:
    """Return what the load's processes are told to do."""
    target = sending_target(plan.url, plan.allow, gateway)
    if target is None:
        raise PlanError("load.url: missing, it has to be given where the backend is not the embedded one")
    return LoadSpec(
        host=f"{target.scheme}://{target.netloc}",
        requests=tuple(Request(name=path, path=path, headers=plan.headers) for path in plan.paths),
        stages=steady(first_rate(plan)),
        timeout_seconds=timeout_seconds,
        window_seconds=0.0,
        back_off_above=0.5,
    )


def first_rate(plan: LoadPlan) -> float:
    """Return the rate to begin with, in requests a second."""
    return plan.rate if plan.mode is LoadMode.CONSTANT else min(FIRST_RATE, plan.ceiling)


def _note(run: Run, load: LoadRun) -> None:
    try:
        run.ports.ledger.append(load_summary(load.stats(), run.ports.clock.now(), synthetic=True))
    except UnavailableError as error:  # the rollout has ended; only this line of its record is missing
        run.note_alarm(
            Trouble.LOAD_NOT_RECORDED, f"what the clients counted cannot be recorded: {error}", run.ports.clock.now()
        )


def load_summary(stats: LoadStats, at: datetime, *, synthetic: bool) -> LoadSummary:
    """Return what the clients counted, for the record."""
    results = load_results(stats)
    return LoadSummary(
        at=at,
        requests=results.requests,
        failures=results.failures,
        failures_by_track={name: track.failures for name, track in results.tracks.items() if track.failures},
        rate=results.rate,
        first_failures={name: track.first_failure for name, track in results.tracks.items() if track.first_failure},
        last_answers={name: track.last_answer for name, track in results.tracks.items() if track.last_answer},
        tracks={name: _client_track(track) for name, track in results.tracks.items()},
        kinds=dict(results.errors),
        synthetic=synthetic,
    )


def _client_track(track: TrackResults) -> ClientTrack:
    return ClientTrack(
        requests=track.requests,
        failures=track.failures,
        mean_ms=track.mean_ms,
        p50_ms=track.latency_ms.get(0.5),
        p99_ms=track.latency_ms.get(0.99),
    )
