"""One criterion of a load test and what was counted: a finding, with its interval and what it still needs.

A user's own locustfile has findings of its own: tasks that raised, hosts that were refused, its exit code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from loadtest.profile import LoadCriteria
from loadtest.stats import LoadStats, StatsEntry
from loadtest.validation.intervals import (
    Batch,
    Interval,
    dispersion,
    mean_interval,
    quantile_interval,
    ratio_interval,
    requests_for,
)
from rollout.formatting import format_limit, format_ms, format_number, format_ratio
from rollout.model import Basis, Outcome
from rollout.verdict_entries import FindingEntry


@dataclass(frozen=True, slots=True)
class LoadCounts:
    """What the criteria look at."""

    whole: StatsEntry
    abandoned: int
    """Requests without an answer when the run ended: errors."""
    due: float | None
    """Requests that were asked for; None in the closed model."""
    seconds: float
    rate: float | None
    batches: Sequence[Batch]

    @property
    def requests(self) -> int:
        """All requests, with those that had no answer when the run ended."""
        return self.whole.requests + self.abandoned

    @property
    def errors(self) -> int:
        """What is the server's fault; see `rollout.answers`."""
        return self.whole.errors + self.abandoned


def findings_of(counts: LoadCounts, criteria: LoadCriteria, *, client_errors_below: float) -> Iterator[FindingEntry]:
    """Yield one finding a criterion."""
    phi = dispersion([part.failures for part in counts.batches], [part.requests for part in counts.batches])
    yield _share("errors", counts.errors, counts, criteria.errors_below, phi)
    yield _share("success", counts.errors, counts, criteria.success_above, phi)
    yield _share("4xx answers", counts.whole.client_errors, counts, client_errors_below, phi)
    if criteria.mean_below is not None:
        mean = counts.whole.seconds / counts.whole.requests if counts.whole.requests else None
        yield _latency("mean latency", mean, mean_interval(counts.batches), criteria.mean_below)
    for q, limit in ((0.95, criteria.p95_below), (0.99, criteria.p99_below)):
        if limit is not None:
            latency = counts.whole.latency
            interval = quantile_interval(latency, q, counts.batches)
            yield _latency(f"p{q * 100:g} latency", latency.quantile(q), interval, limit)
    requested = counts.due or (counts.rate * counts.seconds if counts.rate else None)
    if criteria.throughput_above is not None and requested:
        yield _throughput(counts, requested, criteria.throughput_above, phi)


def _share(name: str, failures: int, counts: LoadCounts, limit: float, phi: float) -> FindingEntry:
    """A share of errors that has to be below a limit, or of successes that has to be above one."""
    total, rises = counts.requests, name == "success"
    low, high = ratio_interval(failures, total, phi)
    bound = 1 - limit if rises else limit
    outcome = _below((low, high), bound)
    ratio = failures / total if total else 0.0
    needed = requests_for(bound, failures, total, phi) if outcome is Outcome.INCONCLUSIVE else None
    measured = (
        f"{format_ratio(1 - ratio)} of {total:,} requests succeeded, at least {format_ratio(1 - high)} (95 % sure)"
        if rises
        else f"{failures:,} {name} in {total:,} requests ({format_ratio(ratio)}), "
        f"at most {format_ratio(high)} (95 % sure)"
    )
    bursts = f"; failures come in bursts, which is allowed for ({phi:.1f} times the spread)" if phi > 1 else ""
    return FindingEntry(
        criterion=name,
        basis=Basis.ABSOLUTE,
        outcome=outcome,
        reason=f"{measured}; limit {format_ratio(limit)}{bursts}",
        estimate=1 - ratio if rises else ratio,
        interval=(1 - high, 1 - low) if rises else (low, high),
        limit=limit,
        unit="ratio",
        requests_needed=max(needed - total, 1) if needed else None,
        seconds_needed=max(needed - total, 1) / total * counts.seconds if needed and total else None,
    )


def _latency(name: str, seconds: float | None, interval: Interval | None, below: timedelta) -> FindingEntry:
    limit = below / timedelta(milliseconds=1)
    if seconds is None:
        return FindingEntry(
            criterion=name, basis=Basis.NO_TRAFFIC, outcome=Outcome.FAIL, reason=f"{name}: nothing was answered"
        )
    ms = None if interval is None else (interval[0] * 1000, interval[1] * 1000)
    bound = "too few requests to bound it" if ms is None else f"at most {format_ms(ms[1])} (95 % sure)"
    return FindingEntry(
        criterion=name,
        basis=Basis.ABSOLUTE,
        outcome=Outcome.INCONCLUSIVE if ms is None else _below(ms, limit),
        reason=f"{name} {format_ms(seconds * 1000)}, {bound}; limit {format_limit(limit, 'ms')}",
        estimate=seconds * 1000,
        interval=ms,
        limit=limit,
        unit="ms",
    )


def _throughput(counts: LoadCounts, requested: float, limit: float, phi: float) -> FindingEntry:
    """Successful answers for each request asked for; what was not sent counts as not reached."""
    successes, sent_of_asked = counts.whole.requests - counts.whole.errors, counts.requests / requested
    low, high = ratio_interval(successes, counts.requests, phi)
    ratio, bounds = successes / requested, (low * sent_of_asked, high * sent_of_asked)
    outcome = Outcome.PASS if bounds[0] >= limit else Outcome.FAIL if bounds[1] < limit else Outcome.INCONCLUSIVE
    return FindingEntry(
        criterion="throughput",
        basis=Basis.ABSOLUTE,
        outcome=outcome,
        reason=f"{format_number(successes / counts.seconds)} successful answers a second "
        f"of {format_number(requested / counts.seconds)} asked for "
        f"({format_ratio(ratio)}); limit {format_ratio(limit)}",
        estimate=ratio,
        interval=bounds,
        limit=limit,
        unit="ratio",
    )


def _below(interval: Interval, limit: float) -> Outcome:
    if interval[1] <= limit:
        return Outcome.PASS
    return Outcome.FAIL if interval[0] > limit else Outcome.INCONCLUSIVE


def locustfile_findings(stats: LoadStats, exit_code: int | None) -> Iterator[FindingEntry]:
    """Yield a finding on the tasks, and one each on refused hosts and on an exit code where there are any."""
    yield _raised(stats)
    if stats.refused:
        yield _refused(stats)
    if exit_code:
        yield _exit_code(exit_code)


def _raised(stats: LoadStats) -> FindingEntry:
    total = sum(stats.raised.values())
    if not total:
        return _finding("raised tasks", Outcome.PASS, "no task of the locustfile raised", 0)
    kinds = sorted(stats.raised.items(), key=lambda item: -item[1])
    most = f"{kinds[0][0]}, {kinds[0][1]:,} times" if len(kinds) > 1 or total > 1 else kinds[0][0]
    others = "" if len(kinds) == 1 else f", and {len(kinds) - 1} more {'kind' if len(kinds) == 2 else 'kinds'}"
    tasks = "1 task of the locustfile" if total == 1 else f"{total:,} tasks of the locustfile"
    return _finding("raised tasks", Outcome.FAIL, f"{tasks} raised: {most}{others}", total)


def _refused(stats: LoadStats) -> FindingEntry:
    total = sum(stats.refused.values())
    hosts = ", ".join(f"{host} ({count:,})" for host, count in sorted(stats.refused.items()))
    reason = f"{total:,} requests were not sent, to hosts that are neither loopback nor under `allow`: {hosts}"
    return _finding("refused hosts", Outcome.FAIL, reason, total)


def _exit_code(exit_code: int) -> FindingEntry:
    reason = f"the locustfile ended Locust with exit code {exit_code} (`environment.process_exit_code` or `sys.exit`)"
    return _finding("exit code", Outcome.FAIL, reason, exit_code)


def _finding(criterion: str, outcome: Outcome, reason: str, estimate: int) -> FindingEntry:
    return FindingEntry(
        criterion=criterion, basis=Basis.ABSOLUTE, outcome=outcome, reason=reason, estimate=estimate, limit=0
    )
