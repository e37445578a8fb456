"""Whatever proxies and scrapes do: never a request too much, and none too few that a scrape has shown.

The truth is the generator's (`proxies.py`): it knows each request.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from analysis.judge import Judge, JudgeState, dump_state, load_state
from analysis.scrapes.increase import CounterState, increase
from analysis.scrapes.increments import CANARY, STABLE, Scrapes
from analysis.scrapes.reading import Cursor, read_scrapes
from analysis.scrapes.samples import Samples
from rollout.answers import COMPARED, classify
from rollout.model import Track
from rollout.plan import parse_plan
from tests.unit.analysis.proxies import KINDS, Floats, Session, World, world

FEW = 300
PATIENCE = 60.0
"""Seconds after which one track's counts are given out without the other's, which then begins anew."""
OVERLAP = 120.0
JUDGE = Judge.for_plan(parse_plan((Path(__file__).parents[3] / "demo.yaml").read_text()))


def looks(made: World, rng: np.random.Generator) -> Iterator[tuple[Session, Samples]]:
    """Yield what a rollout's process is given look by look, as `conductor.watch` asks for it."""
    scrape = made.interval / float(rng.choice([1, 1, 3]))
    overlap = 3 * scrape
    now = float(rng.uniform(2, 6)) * made.interval
    takeover = float(rng.uniform(now, made.ends)) if rng.random() < 0.25 else math.inf
    session, last = Session(began=now - overlap), now
    while now < made.ends + 3 * made.interval:
        since = max(last, now - 300.0) - overlap
        yield session, made.read(session, since, now)
        last = now
        now += scrape * float(rng.choice([1, 2, 5, 20]))
        if now > takeover:
            takeover, last = math.inf, now
            newest = max((t for seen in session.seen.values() for t in seen), default=-math.inf)
            session = Session(began=session.began, read_before=max(newest, session.read_before))


def parts(made: World, rng: np.random.Generator) -> Iterator[tuple[Session, Samples]]:
    """Yield the past in parts that overlap, as `PrometheusMetrics.read_parts` does."""
    start, length = float(rng.uniform(0, 4)) * made.interval, float(rng.uniform(0.2, 1.2)) * made.ends
    session, at = Session(began=start), start
    while at < made.ends:
        end = min(at + length, made.ends)
        yield session, made.read(session, max(at - OVERLAP, start), end, asked=math.inf)
        at = end


@dataclass
class Counted:
    """What was counted of a world, by track and kind of answer (2, K)."""

    grown: Floats
    """By growth alone."""
    given: Floats
    """By the scrapes that the judge is given."""
    sessions: list[Session]


def count(made: World, rng: np.random.Generator) -> Counted:
    """Read a world as a rollout does, or as its history is read; a takeover keeps what the judge's text keeps."""
    counted = Counted(np.zeros((2, len(KINDS))), np.zeros((2, len(KINDS))), [])
    known, state = CounterState(), JudgeState()
    is_verdict = all(proxy.pod for proxy in made.proxies)
    for session, samples in (looks if rng.random() < 0.7 else parts)(made, rng):
        if not counted.sessions or counted.sessions[-1] is not session:
            known, state = known.lasting, load_state(dump_state(state))
            counted.sessions.append(session)
        growth, known = increase(known, samples)
        for column, amount in zip(growth.column.tolist(), growth.amount.tolist(), strict=True):
            series = samples.series[column]
            if bool(series.pod) == is_verdict:
                row = CANARY if series.track == Track.CANARY else STABLE
                counted.grown[row, KINDS.index(classify(series.answer))] += amount
        scrapes, cursor = read_scrapes(state.cursor, samples)
        state = replace(state, cursor=cursor)
        counted.given += by_kind(scrapes)
    if state.cursor.waiting is not None:
        counted.given += by_kind(state.cursor.waiting)
    return counted


def by_kind(scrapes: Scrapes) -> Floats:
    compared = scrapes.answers.sum(axis=0)[:, : len(COMPARED)]
    errors, requests = scrapes.errors.sum(axis=0), scrapes.requests.sum(axis=0)
    return np.column_stack([compared, errors, requests - errors - compared.sum(axis=1)])


def check(seed: int, *, slow: bool = False) -> None:
    made = world(seed, slow=slow)

    counted = count(made, np.random.default_rng([seed, 1]))

    bounds = made.bounds(counted.sessions)
    assert (counted.grown <= bounds.most).all(), f"seed {seed}: {counted.grown - bounds.most} too many"
    most = bounds.most + bounds.before_gateway
    assert (counted.given <= most).all(), f"seed {seed}: {counted.given - most} too many in scrapes"
    assert (counted.grown >= bounds.least).all(), f"seed {seed}: {bounds.least - counted.grown} too few"
    if not is_alone(made, counted.sessions):
        given = counted.given + bounds.before_gateway
        assert (given >= bounds.least).all(), f"seed {seed}: {bounds.least - given} too few in scrapes"


def is_alone(made: World, sessions: list[Session]) -> bool:
    """Return whether one track had no scrape for so long that the judge takes it for gone, and begins it anew."""
    pods = all(proxy.pod for proxy in made.proxies)
    if not pods and any(proxy.pod for proxy in made.proxies):
        return True  # what pods have shown before there was a gateway counts as well
    moments: dict[Track, set[float]] = {Track.CANARY: set(), Track.STABLE: set()}
    for session in sessions:
        for (number, _, counter), seen in session.seen.items():
            if bool(made.proxies[number].pod) == pods:
                moments[made.proxies[number].counters[counter].track].update(seen)
    return any(gap > PATIENCE for each in moments.values() for gap in np.diff(sorted(each)).tolist())


@pytest.mark.parametrize("part", range(3))
def test_no_request_is_counted_too_often_and_none_that_scrapes_show_is_lost(part: int) -> None:
    for seed in range(part * FEW // 3, (part + 1) * FEW // 3):
        check(seed)


def test_no_request_is_counted_too_often_where_slow_scrapes_of_an_ha_pair_step_back() -> None:
    for seed in range(2 * FEW):
        check(seed, slow=True)


@pytest.mark.parametrize("seed", range(40))
def test_any_chunking_of_the_scrapes_gives_the_same_evidence(seed: int) -> None:
    made, rng = world(1_000_000 + seed), np.random.default_rng([seed, 2])
    samples = made.read(Session(began=0.0), -math.inf, made.ends, asked=math.inf)
    cuts = [-math.inf, *np.sort(rng.uniform(0, made.ends, rng.integers(1, 12))).tolist(), math.inf]
    whole, _ = JUDGE.read(Cursor(), samples)

    cursor, pieces = Cursor(), []
    for start, end in pairwise(cuts):
        piece, cursor = JUDGE.read(cursor, samples.between(start, end))
        pieces.append(piece)

    for name in ("time", "span", "requests", "errors", "answers"):
        given = np.concatenate([getattr(piece, name) for piece in pieces])
        np.testing.assert_array_equal(given, getattr(whole, name), err_msg=name)
    assert evidence(pieces) == pytest.approx(evidence([whole]), nan_ok=True)


def evidence(parts: list[Scrapes]) -> list[float]:
    """Return what all scrapes together say against the canary and for it."""
    state = JUDGE.begin()
    for part in parts:
        state, _ = JUDGE.replay(state, part, np.full(len(part), 0.2))
    return [state.latest.rollback, state.latest.peak, *state.latest.promotion]
