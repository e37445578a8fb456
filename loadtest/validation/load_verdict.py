"""What a load run counted, held against the profile's criteria: a ValidationResult."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from loadtest.load_spec import LoadSpec
from loadtest.locust_options import LocustOptions
from loadtest.profile import LoadProfile
from loadtest.results import load_results, merged
from loadtest.runner import LostWorker
from loadtest.schedule import requests_due
from loadtest.stats import LoadStats, StatsEntry
from loadtest.validation.charts_data import histogram_of, latencies_of, timeline_of
from loadtest.validation.intervals import batches
from loadtest.validation.load_findings import LoadCounts, findings_of, locustfile_findings
from loadtest.windows import Window
from rollout.formatting import format_change, format_ms, format_number, format_ratio, format_span
from rollout.load_test_result import Capacity, Comparison, EndpointCounts, ValidationResult
from rollout.model import Basis, Outcome
from rollout.verdict_entries import FindingEntry

LATE_MS = 50.0
"""Lateness of the generator at its 99th percentile that is worth a word: it is part of every latency."""
_ALL = "all"


@dataclass(frozen=True, slots=True)
class LoadEvidence:
    """What a load run left behind."""

    spec: LoadSpec
    began: datetime
    ended: datetime
    stats: LoadStats
    windows: Sequence[Window]
    lost: tuple[LostWorker, ...] = field(default=())
    exit_code: int | None = None
    """Of Locust; None where it had to be killed."""

    @property
    def seconds(self) -> float:
        """The time that was asked for, or that the run took when it was shorter or had no end."""
        requested = sum(stage.seconds for stage in self.spec.stages)
        elapsed = max(self.stats.seconds, 1e-9)
        return min(requested, elapsed) if self.spec.users or not self.stats.done else requested

    def in_time(self, windows: Sequence[Window]) -> list[Window]:
        """Return the windows of the time that counts."""
        return [window for window in windows if window.index * self.spec.window_seconds < self.seconds]

    @property
    def windows_in_time(self) -> list[Window]:
        """The run's own windows of the time that counts."""
        return self.in_time(self.windows)


def judge_load(load: LoadEvidence, profile: LoadProfile, *, url: str) -> ValidationResult:
    """Return the judged result of a load run.

    A criterion passes when its whole interval keeps the limit, fails when none of it does, and is else inconclusive;
    so is the test, unless a criterion fails.
    """
    results, seconds = load_results(load.stats), load.seconds
    parts = batches(load.windows_in_time)
    counts = LoadCounts(
        whole=merged(load.stats.entries.values()),
        abandoned=results.abandoned,
        due=None if load.spec.users else requests_due(load.spec.stages, seconds),
        seconds=seconds,
        rate=profile.rate,
        batches=parts,
    )
    findings = tuple(sorted(_findings(load, profile, counts), key=_severity))
    return ValidationResult(
        name=profile.name or url,
        url=url,
        began=load.began,
        ended=load.ended,
        description=description(profile),
        machine=platform.node(),
        settings=settings_digest(profile, load.spec, url),
        outcome=outcome_of(findings),
        reason=_reason(findings, counts),
        findings=findings,
        asked=counts.due / seconds if counts.due and seconds else profile.rate,
        reached=(counts.whole.requests - counts.whole.errors) / seconds if seconds else 0.0,
        seconds=seconds,
        sent=results.sent,
        total=_endpoint_counts(_ALL, _ALL, counts.whole),
        abandoned=results.abandoned,
        held_back=results.held_back,
        lateness_p99_ms=results.lateness_ms.get(0.99),
        counted=tuple(
            _endpoint_counts(endpoint, track, entry) for (endpoint, track), entry in sorted(load.stats.entries.items())
        ),
        errors=dict(sorted(load.stats.errors.items(), key=lambda item: -item[1])),
        raised=dict(sorted(load.stats.raised.items(), key=lambda item: -item[1])),
        refused=dict(sorted(load.stats.refused.items(), key=lambda item: -item[1])),
        course=timeline_of(load.windows, load.spec, seconds),
        histogram=histogram_of(counts.whole.latency),
        batches=tuple((part.requests, part.failures, part.seconds) for part in parts),
        notes=tuple(_notes(load, profile)),
    )


def _findings(load: LoadEvidence, profile: LoadProfile, counts: LoadCounts) -> Iterator[FindingEntry]:
    yield from findings_of(counts, profile.criteria, client_errors_below=profile.client_errors_below)
    if profile.locustfile is not None:
        yield from locustfile_findings(load.stats, load.exit_code)


def with_comparison(result: ValidationResult, comparison: Comparison) -> ValidationResult:
    """Return the result with the comparison: a proven regression fails it.

    A base in the same run was requested: where that comparison is inconclusive, so is the test.
    """
    if comparison.against and comparison.outcome is Outcome.INCONCLUSIVE and result.outcome is Outcome.PASS:
        worst = next(finding for finding in comparison.findings if finding.outcome is Outcome.INCONCLUSIVE)
        changes = {"comparison": comparison, "outcome": Outcome.INCONCLUSIVE, "reason": worst.reason}
        return result.model_copy(update=changes)
    if comparison.outcome is not Outcome.FAIL or result.outcome is Outcome.FAIL:
        return result.model_copy(update={"comparison": comparison})
    worst = next(finding for finding in comparison.findings if finding.outcome is Outcome.FAIL)
    return result.model_copy(
        update={"comparison": comparison, "outcome": Outcome.FAIL, "reason": f"regression: {worst.reason}"}
    )


def with_capacity(result: ValidationResult, capacity: Capacity, profile: LoadProfile) -> ValidationResult:
    """Return the result with the capacity that was found, held against the headroom that was asked for."""
    changes: dict[str, object] = {"capacity": capacity}
    required = profile.criteria.headroom_above
    if required is not None and profile.rate:
        headroom = (capacity.rate or 0.0) / profile.rate - 1
        outcome = Outcome.PASS if headroom >= required else Outcome.FAIL
        reason = (
            f"the highest rate that met the criteria is {format_change(1 + headroom)} from the rate asked for; "
            f"wanted: {format_change(1 + required)}"
        )
        finding = FindingEntry(
            criterion="headroom",
            basis=Basis.ABSOLUTE,
            outcome=outcome,
            reason=reason,
            estimate=headroom,
            limit=required,
            unit="ratio",
        )
        findings = tuple(sorted((*result.findings, finding), key=_severity))
        changes |= {"findings": findings, "outcome": outcome_of(findings)}
        if outcome is Outcome.FAIL and result.outcome is not Outcome.FAIL:
            changes["reason"] = reason
    return result.model_copy(update=changes)


def outcome_of(findings: Sequence[FindingEntry]) -> Outcome:
    """Return what all criteria say together."""
    outcomes = {finding.outcome for finding in findings}
    return next((outcome for outcome in (Outcome.FAIL, Outcome.INCONCLUSIVE) if outcome in outcomes), Outcome.PASS)


def _severity(finding: FindingEntry) -> int:
    return (Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.PASS).index(finding.outcome)


def _reason(findings: Sequence[FindingEntry], counts: LoadCounts) -> str:
    outcome = outcome_of(findings)
    if outcome is not Outcome.PASS:
        return findings[0].reason
    return f"all {len(findings)} criteria hold over {counts.whole.requests:,} requests"


def total_counts(stats: LoadStats) -> EndpointCounts:
    """Return what was counted of all endpoints and tracks."""
    return _endpoint_counts(_ALL, _ALL, merged(stats.entries.values()))


def _endpoint_counts(endpoint: str, track: str, entry: StatsEntry) -> EndpointCounts:
    return EndpointCounts(
        endpoint=endpoint,
        track=track,
        requests=entry.requests,
        failures=entry.failures,
        client_errors=entry.client_errors,
        latency=latencies_of(entry),
    )


def description(profile: LoadProfile) -> str:
    """Return the load in words."""
    if profile.model == "closed":
        load = f"{profile.users} users, each waiting for its answers"
    else:
        load = f"{format_number(profile.rate or 0.0)} requests a second, {profile.arrivals} arrivals"
    shape = "" if profile.shape.kind == "constant" else f", {profile.shape.kind}"
    processes = "" if profile.processes == 1 else f", from {profile.processes} workers"
    return f"{load}{shape}{processes}"


def settings_digest(profile: LoadProfile, spec: LoadSpec, url: str) -> str:
    """Return what has to be the same for two runs to be compared."""
    settings = spec.model_dump_json(by_alias=True, include={"requests", "stages", "arrivals", "users", "think_seconds"})
    # Only where it is given: the runs accepted by older versions are still found.
    options = "" if profile.locust == LocustOptions() else f"\n{profile.locust.model_dump_json()}"
    return hashlib.sha256(f"{profile.name or url}\n{settings}{options}".encode()).hexdigest()[:16]


def _notes(load: LoadEvidence, profile: LoadProfile) -> Iterator[str]:
    results, sheddings = load_results(load.stats), load.stats.sheddings
    for worker in load.lost:
        yield (
            f"worker {worker.pid} ended by itself after {format_span(worker.seconds)} (exit code {worker.exit_code}); "
            "the others took its part over within seconds, and what it counted in its last second may be missing"
        )
    for at, share in sheddings[:5]:
        yield f"the load was halved after {format_span(at)}, because {format_ratio(share)} of the requests had failed"
    if len(sheddings) > 5:
        yield f"... and {len(sheddings) - 5} more times"
    if results.abandoned:
        yield f"{results.abandoned:,} requests had no answer when the run ended; they count as errors"
    lateness = results.lateness_ms.get(0.99, 0.0)
    if lateness > LATE_MS:
        yield (
            f"the generator itself sent one request in a hundred {format_ms(lateness)} late or more, which is part of "
            "the latencies here: give it a processor of its own, or more processes"
        )
    if profile.is_only_a_health_check:
        yield "the profile asks for a health check alone: it says little of the service itself"
    if profile.locustfile is not None and (requested := profile.duration.total_seconds()) - load.stats.seconds > 1:
        seconds = load.stats.seconds
        yield f"the locustfile ended the test by itself after {format_span(seconds)} of {format_span(requested)}"
    if load.spec.users:
        yield "closed model: a slow service is asked less, and a stall hides in the percentiles; `model: open` shows it"
