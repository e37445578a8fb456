"""The judge over recorded rollouts: what it would have said at each scrape, and what the peers' rules would have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.counterfactual import PeerSettings, PeerVerdict
from analysis.counterfactual import replay as replay_peers
from analysis.gauges import Watch, is_below, watched
from analysis.harm import gauge_limit
from analysis.judge import Judge, JudgeState, Replay
from analysis.recording import WEIGHT, Trace
from analysis.samples import CANARY, REQUESTS, Cursor, Scrapes
from rollout.model import Outcome, Pod, Track
from rollout.plan import RolloutPlan
from rollout.triggers import PodHistory, find_triggers, observe

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

HOLD, PROMOTE, ROLLBACK = "hold", "promote", "rollback"
RESTARTS = "restarts_total"
NONE = -100.0
"""The log evidence that stands for none at all."""
PART = 4096
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
        Some of `analysis.counterfactual.RULES`.
    """
    frame = trace.frame()
    if trace.time[0] < UNIX_TIMES:
        return backtest_frame(trace.name, frame, judge, rules=rules)
    frame = since_canary(frame)
    began = datetime.fromtimestamp(float(trace.time[0] - frame["time"].to_numpy(dtype=float)[0]), UTC)
    assumed = f"timestamps are taken for Unix times: 0 is the canary's first sample at {began:%Y-%m-%d %H:%M:%S} UTC"
    found = backtest_frame(trace.name, frame, judge, rules=rules)
    return replace(found, notes=(assumed, *found.notes))


def backtest_frame(name: str, frame: pd.DataFrame, judge: Judge, *, rules: Iterable[str] = ()) -> Backtest:
    """Return the backtest of a tidy frame whose time 0 is the canary's first traffic; see `backtest`."""
    scrapes, _ = judge.read(Cursor(), frame)
    began = int(np.searchsorted(scrapes.time, 0.0, side="right"))
    start = judge.learn_scrapes(judge.begin(), scrapes[:began])
    scrapes = scrapes[began:]
    has_weights = bool((frame["metric"] == WEIGHT).any())
    shares = shares_at(frame, scrapes.time) if has_weights else observed_shares(scrapes, judge.plan)
    states, said = _replayed(judge, start, scrapes, shares)
    broken, is_below, watch = _gauges(frame, judge, said.time)
    said = replace(said, passes=said.passes & is_below)
    # What is deterministic: the earliest is what would have been acted upon.
    sure = min(filter(None, (_crash_loop(frame, judge), broken)), default=None)
    rollback_at = min(filter(None, (_first(said.time, said.fails), sure[0] if sure else None)), default=None)
    promote_at = _first(said.time, said.passes & (said.time < (rollback_at or np.inf)))
    if sure and sure[0] == rollback_at:
        reason = sure[1]
    else:
        decisive = rollback_at if rollback_at is not None else promote_at
        watched_states = [replace(state, gauges=watch) for state in states]
        reason = _reason(judge, watched_states, scrapes, shares, decisive)
    times = np.unique(frame["time"].to_numpy(dtype=float))
    times = times[times > 0]
    return Backtest(
        trace=name,
        rollback_at=rollback_at,
        promote_at=promote_at,
        reason=reason,
        decisions=tuple(_decisions(times, said, rollback_at)),
        evidence=tuple(_evidence(times, said)),
        steps=tuple(_steps(scrapes, shares)),
        peers=tuple(replay_peers(scrapes, rules, _peer_settings(judge))),
        notes=tuple(judge.notes(states[-1])),
    )


def since_canary(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a tidy frame of unix times with time 0 at the canary's first sample; all is history where it has none."""
    canary = ((frame["track"] == Track.CANARY) & (frame["metric"] == REQUESTS)).to_numpy()
    times = frame["time"].to_numpy(dtype=float)
    start = float(times[canary].min() if canary.any() else times.max())
    return frame.assign(time=frame["time"] - start)


def _peer_settings(judge: Judge) -> PeerSettings:
    """Return the peers' settings with the plan's own limits where they have none of theirs."""
    return PeerSettings(argo_error_ratio=judge.limits.error_rollback, argo_mean=judge.limits.latency_rollback)


def shares_at(frame: pd.DataFrame, times: Floats) -> Floats:
    """Return the canary's configured share at each time (T,), from the recording's weights."""
    weights = frame[((frame["metric"] == WEIGHT) & (frame["track"] == Track.CANARY)).to_numpy()]
    known = np.append(UNKNOWN_SHARE, weights["value"].to_numpy(dtype=float))
    return np.asarray(known[np.searchsorted(weights["time"].to_numpy(dtype=float), times, side="right")])


def observed_shares(scrapes: Scrapes, plan: RolloutPlan) -> Floats:
    """Return the plan's share that each scrape (T,) seems to belong to, where none was recorded.

    It is the one nearest to what the canary got of the last minute's requests, and never falls.
    """
    asked = np.array([step.canary / 100 for step in plan.steps])
    compared = np.array([plan.compared_share(share) for share in asked])
    counted = np.vstack([np.zeros((1, 2)), np.cumsum(scrapes.requests, axis=0)])
    after = np.arange(1, len(counted))
    before = np.minimum(np.searchsorted(scrapes.time, scrapes.time - SHARE_SECONDS, side="right"), after - 1)
    recent = counted[after] - counted[before]
    total = recent.sum(axis=1)
    seen = np.where(total >= SHARE_REQUESTS, recent[:, CANARY] / np.maximum(total, 1.0), 0.0)
    return np.asarray(np.maximum.accumulate(asked[np.abs(compared - seen[:, None]).argmin(axis=1)]))


def _first(time: Floats, holds: npt.NDArray[np.bool_]) -> float | None:
    return float(time[holds.argmax()]) if holds.any() else None


def _replayed(judge: Judge, state: JudgeState, scrapes: Scrapes, shares: Floats) -> tuple[list[JudgeState], Replay]:
    """Return the state before each part of `PART` scrapes and at the end, and what was said after each scrape."""
    states, parts = [state], []
    for start in range(0, max(len(scrapes), 1), PART):
        part = slice(start, start + PART)
        state, said = judge.replay(state, scrapes[part], shares[part])
        states.append(state)
        parts.append(said)
    whole = Replay(
        **{each.name: np.concatenate([getattr(said, each.name) for said in parts]) for each in fields(Replay)}
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
        part = slice(last // PART * PART, last + 1)
        state, _ = judge.replay(states[last // PART], scrapes[part], shares[part])
    verdict = judge.verdict(state, canary_share=float(shares[last]), now=float(scrapes.time[last]), replayed=True)
    return verdict.reason


def _decisions(times: Floats, said: Replay, rollback_at: float | None) -> Iterator[tuple[float, str]]:
    """Yield what holds at each time: what was said last."""
    words = np.concatenate([[HOLD], np.where(said.fails, ROLLBACK, np.where(said.passes, PROMOTE, HOLD))])
    held = words[np.searchsorted(said.time, times, side="right")]
    condemned = times >= (np.inf if rollback_at is None else rollback_at)
    yield from zip(times.tolist(), np.where(condemned, ROLLBACK, held).tolist(), strict=True)


def _evidence(times: Floats, said: Replay) -> Iterator[tuple[float, float]]:
    """Yield the evidence that stands at each time; none at all is a number that JSON can hold."""
    at = np.searchsorted(said.time, times, side="right")
    columns = (np.maximum(np.append(NONE, each), NONE)[at].tolist() for each in (said.rollback, said.promotion))
    yield from zip(*columns, strict=True)


def _steps(scrapes: Scrapes, shares: Floats) -> Iterator[tuple[float, float]]:
    """Yield when each share began to be counted, and the share."""
    for first in np.flatnonzero(np.diff(shares, prepend=np.nan) != 0):
        # The canary's first scrape is judged at its end; a later step's weight was recorded at its beginning.
        yield float(scrapes.time[first] - (0.0 if first else scrapes.span[0])), float(shares[first])


def _crash_loop(frame: pd.DataFrame, judge: Judge) -> tuple[float, str] | None:
    """Return when the pods' restarts were first a reason to act, and the reason."""
    rows = frame[(frame["metric"] == RESTARTS).to_numpy()]
    rows = rows[rows["track"].isin([Track.STABLE, Track.CANARY]).to_numpy()]
    history, pods, criteria = PodHistory(), dict[str, Pod](), judge.plan.criteria
    for time, group in _changes(rows):
        for track, pod, value in zip(group["track"], group["pod"], group["value"], strict=True):
            name = f"{track}/{pod}"  # both tracks may number their pods alike
            pods[name] = Pod(name, Track(str(track)), ready=True, restarts=round(value))
        now = datetime.fromtimestamp(0, UTC) + timedelta(seconds=time)
        history = observe(history, tuple(pods.values()), now=now, within=criteria.pods.within)
        if time > 0 and (found := find_triggers(history, (), criteria, now)):
            return time, found[0].reason
    return None


def _gauges(frame: pd.DataFrame, judge: Judge, times: Floats) -> tuple[tuple[float, str] | None, Bools, Watch]:
    """Return when a gauge condemned the canary and why, whether none was above its limit (T,), and how all ended."""
    gauges = judge.plan.criteria.gauges
    if not gauges:
        return None, np.ones(len(times), dtype=bool), Watch()
    path = list(watched(Watch(), gauges, frame))
    breached = next(((time, watch.breach) for time, watch in path if watch.breach is not None), None)
    below = np.array([False, *(is_below(gauges, watch) for _, watch in path)])
    at = np.searchsorted([time for time, _ in path], times, side="right")
    if breached is None:
        return None, below[at], path[-1][1] if path else Watch()
    gauge = next(gauge for gauge in gauges if gauge.name == breached[1].gauge)
    return (breached[0], gauge_limit(gauge, breached[1], outcome=Outcome.FAIL).reason), below[at], path[-1][1]


def _changes(rows: pd.DataFrame) -> Iterator[tuple[float, pd.DataFrame]]:
    """Yield the samples that differ from their pod's last one, by time."""
    keys = ["track", "pod"]
    changed = rows.groupby(keys, observed=True, sort=False)["value"].diff().fillna(1.0) != 0
    for time, group in rows[changed.to_numpy()].groupby("time", sort=True):
        yield float(str(time)), group
