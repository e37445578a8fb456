"""The judge over recorded rollouts: what it would have said at each scrape, and what the peers' rules would have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from analysis.evidence.gauges import GaugeState, gauge_path, is_below
from analysis.judge import Judge, JudgeState, Replay
from analysis.offline.peer_replay import PeerSettings, PeerVerdict
from analysis.offline.peer_replay import replay as replay_peers
from analysis.offline.recording import Trace
from analysis.scrapes.increase import CounterState, increase
from analysis.scrapes.increments import CANARY, Scrapes
from analysis.scrapes.reading import Cursor
from analysis.scrapes.samples import ERRORS, REQUESTS, WEIGHT, Samples
from analysis.verdict.own_metrics import gauge_limit
from rollout.model import Outcome, Pod, Track
from rollout.plan import RolloutPlan
from rollout.triggers import PodHistory, find_triggers, observe

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

HOLD, PROMOTE, ROLLBACK = "hold", "promote", "rollback"
RESTARTS = "restarts_total"
NO_EVIDENCE = -100.0
"""The log evidence that stands for none at all."""
CHECKPOINT_SCRAPES = 4096
"""After so many scrapes a state is kept, so that a moment's reason need not be sought from the beginning."""
UNKNOWN_SHARE = 0.5
"""The configured share before a recording's first weight."""
SHARE_SECONDS, SHARE_REQUESTS = 60.0, 100.0
"""Over how long, and how many requests, a share that was not recorded is told from the traffic."""
UNIX_TIMES = 1e8
"""A recording that begins later than this is one of Unix times: no history is three years long."""


@dataclass(frozen=True, slots=True)
class Backtest:
    """What the judge would have done; times in seconds after the canary's first traffic, None for never."""

    trace: str
    rollback_at: float | None
    promote_at: float | None
    """The first moment at which the evidence alone would allow promotion, at the step of that moment, without bake."""
    reason: str
    """Of the rollback if there was one, else of the promotion, else of what was said last."""
    decisions: tuple[tuple[float, str], ...]
    """At each scrape: `hold`, `promote` or `rollback`."""
    evidence: tuple[tuple[float, float], ...] = ()
    """Beside each decision: the log evidence against the canary, and the weakest criterion's for promoting it."""
    steps: tuple[tuple[float, float], ...] = ()
    """When each configured share (0-1) of the canary began, as far as scrapes judged it."""
    peers: tuple[PeerVerdict, ...] = ()
    notes: tuple[str, ...] = ()
    """What is worth knowing beside it: what the buckets cannot show, what was left out."""


def backtest(trace: Trace, judge: Judge, *, rules: Iterable[str] = ()) -> Backtest:
    """Return what the judge, and the named peers' rules, would have done with a recorded rollout.

    What is said of a moment depends on the samples up to it only.

    Parameters
    ----------
    trace
        The recording.
    judge
        The judge of the plan that it is held against.
    rules
        Some of `analysis.offline.peer_replay.RULES`.
    """
    samples = trace.samples()
    if trace.time[0] < UNIX_TIMES:
        return backtest_samples(trace.name, samples, judge, rules=rules)
    samples = since_canary(samples)
    began = datetime.fromtimestamp(float(trace.time[0] - samples.times.min()), UTC)
    assumed = f"timestamps are taken for Unix times: 0 is the canary's first sample at {began:%Y-%m-%d %H:%M:%S} UTC"
    result = backtest_samples(trace.name, samples, judge, rules=rules)
    return replace(result, notes=(assumed, *result.notes))


def backtest_samples(name: str, samples: Samples, judge: Judge, *, rules: Iterable[str] = ()) -> Backtest:
    """Return the backtest of samples whose time 0 is the canary's first traffic; see `backtest`."""
    scrapes, _ = judge.read(Cursor(), samples)
    began = int(np.searchsorted(scrapes.time, 0.0, side="right"))
    start = judge.learn_scrapes(judge.begin(), scrapes[:began])
    scrapes = scrapes[began:]
    has_weights = any(series.metric == WEIGHT for series in samples.series)
    shares = shares_at(samples, scrapes.time) if has_weights else observed_shares(scrapes, judge.plan)
    states, replay = _replayed(judge, start, scrapes, shares)
    broken, is_below, watch = _gauges(samples, judge, replay.time)
    replay = replace(replay, passes=replay.passes & is_below)
    # What is deterministic: the earliest is what would have been acted upon.
    deterministic = min(filter(None, (_crash_loop(samples, judge), broken)), default=None)
    rollback_at = min(
        filter(None, (_first(replay.time, replay.fails), deterministic[0] if deterministic else None)), default=None
    )
    promote_at = _first(replay.time, replay.passes & (replay.time < (rollback_at or np.inf)))
    if deterministic and deterministic[0] == rollback_at:
        reason = deterministic[1]
    else:
        decisive = rollback_at if rollback_at is not None else promote_at
        watched_states = [replace(state, gauges=watch) for state in states]
        reason = _reason(judge, watched_states, scrapes, shares, decisive)
    times = np.unique(samples.times)
    times = times[times > 0]
    return Backtest(
        trace=name,
        rollback_at=rollback_at,
        promote_at=promote_at,
        reason=reason,
        decisions=tuple(_decisions(times, replay, rollback_at)),
        evidence=tuple(_evidence(times, replay)),
        steps=tuple(_steps(scrapes, shares)),
        peers=tuple(replay_peers(scrapes, rules, _peer_settings(judge))),
        notes=(*judge.notes(states[-1]), *_unknown_errors(samples)),
    )


def _unknown_errors(samples: Samples) -> Iterator[str]:
    """Yield that a recording does not say how requests were answered; one without an error looks the same."""
    if not any(series.metric == ERRORS or series.answer for series in samples.series):
        yield f"neither {ERRORS} nor answers are recorded: that no request failed is assumed"


def since_canary(samples: Samples) -> Samples:
    """Return samples of Unix times with time 0 where the canary's traffic begins; all is history where it has none.

    That is the last scrape before its requests grow: their counters may be left over from an earlier try.
    """
    counted = samples.where(series.metric == REQUESTS for series in samples.series)
    growth, _ = increase(CounterState(), counted)
    canary = np.array([series.track == Track.CANARY for series in counted.series], dtype=bool)[growth.column]
    grown = growth.time[canary & (growth.amount > 0)]
    before = counted.times[counted.times < grown.min()] if len(grown) else samples.times
    return samples.shifted(-float(before.max()))


def _peer_settings(judge: Judge) -> PeerSettings:
    """Return the peers' settings with the plan's own limits where they have none of theirs."""
    return PeerSettings(argo_error_ratio=judge.limits.error_rollback, argo_mean=judge.limits.latency_rollback)


def shares_at(samples: Samples, times: Floats) -> Floats:
    """Return the canary's configured share at each time (T,), from the recording's weights."""
    weights = samples.where(series.metric == WEIGHT and series.track == Track.CANARY for series in samples.series)
    known = np.append(UNKNOWN_SHARE, weights.values)
    return np.asarray(known[np.searchsorted(weights.times, times, side="right")])


def observed_shares(scrapes: Scrapes, plan: RolloutPlan) -> Floats:
    """Return the plan's share that each scrape (T,) seems to belong to, where none was recorded.

    It is the one nearest to what the canary got of the last minute's requests, and never falls.
    """
    configured = np.array([step.canary / 100 for step in plan.steps])
    compared = np.array([plan.compared_share(share) for share in configured])
    counted = np.vstack([np.zeros((1, 2)), np.cumsum(scrapes.requests, axis=0)])
    after = np.arange(1, len(counted))
    before = np.minimum(np.searchsorted(scrapes.time, scrapes.time - SHARE_SECONDS, side="right"), after - 1)
    recent = counted[after] - counted[before]
    total = recent.sum(axis=1)
    seen = np.where(total >= SHARE_REQUESTS, recent[:, CANARY] / np.maximum(total, 1.0), 0.0)
    return np.asarray(np.maximum.accumulate(configured[np.abs(compared - seen[:, None]).argmin(axis=1)]))


def _first(time: Floats, holds: npt.NDArray[np.bool_]) -> float | None:
    return float(time[holds.argmax()]) if holds.any() else None


def _replayed(judge: Judge, state: JudgeState, scrapes: Scrapes, shares: Floats) -> tuple[list[JudgeState], Replay]:
    """Return the state before each part of `PART` scrapes and at the end, and what was said after each scrape."""
    states, parts = [state], []
    for start in range(0, max(len(scrapes), 1), CHECKPOINT_SCRAPES):
        part = slice(start, start + CHECKPOINT_SCRAPES)
        state, replay = judge.replay(state, scrapes[part], shares[part])
        states.append(state)
        parts.append(replay)
    whole = Replay(
        **{each.name: np.concatenate([getattr(replay, each.name) for replay in parts]) for each in fields(Replay)}
    )
    fails = np.logical_or.accumulate(whole.fails)
    return states, replace(whole, fails=fails, passes=whole.passes & ~fails)


def _reason(judge: Judge, states: list[JudgeState], scrapes: Scrapes, shares: Floats, decisive: float | None) -> str:
    """Return the sentence that the judge would have given at the decisive moment, or at the end."""
    if not len(scrapes):
        return "no scrape that both tracks have"
    last = len(scrapes) - 1 if decisive is None else int(np.searchsorted(scrapes.time, decisive))
    state = states[-1]
    if last < len(scrapes) - 1:
        part = slice(last // CHECKPOINT_SCRAPES * CHECKPOINT_SCRAPES, last + 1)
        state, _ = judge.replay(states[last // CHECKPOINT_SCRAPES], scrapes[part], shares[part])
    verdict = judge.verdict(state, canary_share=float(shares[last]), now=float(scrapes.time[last]), replayed=True)
    return verdict.reason


def _decisions(times: Floats, replay: Replay, rollback_at: float | None) -> Iterator[tuple[float, str]]:
    """Yield what holds at each time: what was said last."""
    decisions = np.concatenate([[HOLD], np.where(replay.fails, ROLLBACK, np.where(replay.passes, PROMOTE, HOLD))])
    decided = decisions[np.searchsorted(replay.time, times, side="right")]
    is_rolled_back = times >= (np.inf if rollback_at is None else rollback_at)
    yield from zip(times.tolist(), np.where(is_rolled_back, ROLLBACK, decided).tolist(), strict=True)


def _evidence(times: Floats, replay: Replay) -> Iterator[tuple[float, float]]:
    """Yield the evidence that stands at each time; none at all is a number that JSON can hold."""
    at = np.searchsorted(replay.time, times, side="right")
    columns = (
        np.maximum(np.append(NO_EVIDENCE, each), NO_EVIDENCE)[at].tolist()
        for each in (replay.rollback, replay.promotion)
    )
    yield from zip(*columns, strict=True)


def _steps(scrapes: Scrapes, shares: Floats) -> Iterator[tuple[float, float]]:
    """Yield when each share began to be counted, and the share."""
    for first in np.flatnonzero(np.diff(shares, prepend=np.nan) != 0):
        # The canary's first scrape is judged at its end; a later step's weight was recorded at its beginning.
        yield float(scrapes.time[first] - (0.0 if first else scrapes.span[0])), float(shares[first])


def _crash_loop(samples: Samples, judge: Judge) -> tuple[float, str] | None:
    """Return when the pods' restarts were first a reason to act, and the reason."""
    compared = (Track.STABLE, Track.CANARY)
    restarts = samples.where(series.metric == RESTARTS and series.track in compared for series in samples.series)
    history, pods, criteria = PodHistory(), dict[str, Pod](), judge.plan.criteria
    for time, changed in _changes(restarts):
        pods |= {pod.name: pod for pod in changed}
        now = datetime.fromtimestamp(0, UTC) + timedelta(seconds=time)
        history = observe(history, tuple(pods.values()), now=now, within=criteria.pods.within)
        if time > 0 and (triggers := find_triggers(history, (), criteria, now)):
            return time, triggers[0].reason
    return None


def _changes(restarts: Samples) -> Iterator[tuple[float, list[Pod]]]:
    """Yield the pods whose restarts differ from their last sample, by time."""
    changes: dict[float, list[Pod]] = {}
    for series, times, values in restarts.each():
        name = f"{series.track}/{series.pod}"  # both tracks may number their pods alike
        is_new = np.append(True, np.diff(values) != 0)
        for time, value in zip(times[is_new].tolist(), values[is_new].tolist(), strict=True):
            changes.setdefault(time, []).append(Pod(name, Track(series.track), ready=True, restarts=round(value)))
    for time in sorted(changes):
        yield time, changes[time]


def _gauges(samples: Samples, judge: Judge, times: Floats) -> tuple[tuple[float, str] | None, Bools, GaugeState]:
    """Return when a gauge rolled the canary back and why, whether none was above its limit (T,), and how all ended."""
    gauges = judge.plan.criteria.gauges
    if not gauges:
        return None, np.ones(len(times), dtype=bool), GaugeState()
    path = list(gauge_path(GaugeState(), gauges, samples))
    breached = next(((time, watch.breach) for time, watch in path if watch.breach is not None), None)
    below = np.array([False, *(is_below(gauges, watch) for _, watch in path)])
    at = np.searchsorted([time for time, _ in path], times, side="right")
    if breached is None:
        return None, below[at], path[-1][1] if path else GaugeState()
    gauge = next(gauge for gauge in gauges if gauge.name == breached[1].gauge)
    return (breached[0], gauge_limit(gauge, breached[1], outcome=Outcome.FAIL).reason), below[at], path[-1][1]
