"""One criterion of a load test and what was counted: a finding, with its interval and what it still needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from loadtest.profile import Promises
from loadtest.tally import Cell
from loadtest.validation.intervals import (
    Batch,
    Interval,
    dispersion,
    mean_interval,
    quantile_interval,
    ratio_interval,
    requests_for,
)
from rollout.formatting import format_ms, format_number, format_ratio
from rollout.model import Basis, Outcome
from rollout.verdict_entries import FindingEntry


@dataclass(frozen=True, slots=True)
class LoadCounts:
    """What the criteria look at."""

    whole: Cell
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


def findings_of(counts: LoadCounts, wanted: Promises, *, client_errors_below: float) -> Iterator[FindingEntry]:
    """Yield one finding a criterion."""
    phi = dispersion([part.failures for part in counts.batches], [part.requests for part in counts.batches])
    yield _share("errors", counts.errors, counts, wanted.errors_below, phi)
    yield _share("success", counts.errors, counts, wanted.success_above, phi)
    yield _share("4xx answers", counts.whole.client_errors, counts, client_errors_below, phi)
    if wanted.mean_below is not None:
        mean = counts.whole.seconds / counts.whole.requests if counts.whole.requests else None
        yield _latency("mean latency", mean, mean_interval(counts.batches), wanted.mean_below)
    for q, limit in ((0.95, wanted.p95_below), (0.99, wanted.p99_below)):
        if limit is not None:
            latency = counts.whole.latency
            interval = quantile_interval(latency, q, counts.batches)
            yield _latency(f"p{q * 100:g} latency", latency.quantile(q), interval, limit)
    asked = counts.due or (counts.rate * counts.seconds if counts.rate else None)
    if wanted.throughput_above is not None and asked:
        yield _throughput(counts, asked, wanted.throughput_above, phi)


def _share(name: str, bad: int, counts: LoadCounts, limit: float, phi: float) -> FindingEntry:
    """A share of errors that has to be below a limit, or of successes that has to be above one."""
    total, rises = counts.requests, name == "success"
    low, high = ratio_interval(bad, total, phi)
    bound = 1 - limit if rises else limit
    outcome = _below((low, high), bound)
    ratio = bad / total if total else 0.0
    needed = requests_for(bound, bad, total, phi) if outcome is Outcome.INCONCLUSIVE else None
    told = (
        f"{format_ratio(1 - ratio)} of {total:,} requests succeeded, at least {format_ratio(1 - high)} (95 % sure)"
        if rises
        else f"{bad:,} {name} in {total:,} requests ({format_ratio(ratio)}), at most {format_ratio(high)} (95 % sure)"
    )
    bursts = f"; failures come in bursts, which is allowed for ({phi:.1f} times the spread)" if phi > 1 else ""
    return FindingEntry(
        criterion=name,
        basis=Basis.ABSOLUTE,
        outcome=outcome,
        reason=f"{told}; limit {format_ratio(limit)}{bursts}",
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
    sure = "too few requests to bound it" if ms is None else f"at most {format_ms(ms[1])} (95 % sure)"
    return FindingEntry(
        criterion=name,
        basis=Basis.ABSOLUTE,
        outcome=Outcome.INCONCLUSIVE if ms is None else _below(ms, limit),
        reason=f"{name} {format_ms(seconds * 1000)}, {sure}; limit {format_ms(limit)}",
        estimate=seconds * 1000,
        interval=ms,
        limit=limit,
        unit="ms",
    )


def _throughput(counts: LoadCounts, asked: float, limit: float, phi: float) -> FindingEntry:
    """Successful answers for each request asked for; what was not sent counts as not reached."""
    good, sent_of_asked = counts.whole.requests - counts.whole.errors, counts.requests / asked
    low, high = ratio_interval(good, counts.requests, phi)
    ratio, bounds = good / asked, (low * sent_of_asked, high * sent_of_asked)
    outcome = Outcome.PASS if bounds[0] >= limit else Outcome.FAIL if bounds[1] < limit else Outcome.INCONCLUSIVE
    return FindingEntry(
        criterion="throughput",
        basis=Basis.ABSOLUTE,
        outcome=outcome,
        reason=f"{format_number(good / counts.seconds)} successful answers a second of "
        f"{format_number(asked / counts.seconds)} asked for "
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
