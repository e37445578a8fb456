"""The split test on seeded days of traffic: clients that send bursts, and clients that stay on one track."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.evidence.split import SplitMonitor, mismatch, observe_split

pytestmark = pytest.mark.simulation

SEED = 20_240_607
SCRAPE = 30.0
DAY = 24 * 3600.0
RPS = 100.0
SHARE = 0.2
DAYS = 20
"""Of each kind of users: at one false alarm in a hundred days, two in twenty come once in 60 times."""


def independent(rng: np.random.Generator, rate: float, seconds: float) -> np.ndarray:
    """Return requests a scrape of users that are each sent where the dice say."""
    return rng.poisson(rate * SCRAPE, round(seconds / SCRAPE))


def in_bursts(rng: np.random.Generator, rate: float, seconds: float) -> np.ndarray:
    """Return those of users that send twenty at once, all to one track."""
    return 20 * rng.poisson(rate * SCRAPE / 20, round(seconds / SCRAPE))


def sticky(rng: np.random.Generator, rate: float, seconds: float) -> np.ndarray:
    """Return those of users that stay five minutes on one track, and send a request every five seconds."""
    stay, each = 300.0, 0.2
    before = round(8 * stay / SCRAPE)
    scrapes = before + round(seconds / SCRAPE)
    arrived = rng.poisson(rate / each / stay * SCRAPE, scrapes)
    begin = np.repeat(np.arange(scrapes), arrived)
    end = np.minimum(begin + np.ceil(rng.exponential(stay / SCRAPE, len(begin))).astype(int), scrapes)
    change = np.bincount(begin, minlength=scrapes + 1) - np.bincount(end, minlength=scrapes + 1)
    return rng.poisson(np.cumsum(change)[before:scrapes] * each * SCRAPE)


def when_wrong(requests: np.ndarray) -> float:
    """Return the seconds after which the split is called wrong first, looking every minute; infinity for never."""
    watch, span = SplitMonitor(), np.full(2, SCRAPE)
    for start in range(0, len(requests) - 1, 2):
        time = SCRAPE * (start + np.array([1.0, 2.0]))
        watch, _ = observe_split(watch, time, span, requests[start : start + 2].astype(np.float64), np.full(2, SHARE))
        if mismatch(watch):
            return float(time[-1])
    return float("inf")


@pytest.mark.parametrize("users", [independent, in_bursts, sticky])
def test_a_right_split_is_called_wrong_in_at_most_one_day_of_twenty(users: object) -> None:
    assert callable(users)
    false = 0
    for run in range(DAYS):
        rng = np.random.default_rng([SEED, run])
        both = [users(rng, RPS * share, DAY) for share in (SHARE, 1 - SHARE)]
        false += np.isfinite(when_wrong(np.stack(both, axis=-1)))

    assert false <= 1


def test_a_share_that_halves_is_seen_in_about_a_minute_in_the_median() -> None:
    delays = []
    for run in range(30):
        rng = np.random.default_rng([SEED, run])
        parts = [(SHARE, 3600.0 + SCRAPE * (run % 2)), (SHARE / 2, 600.0)]
        both = [np.concatenate([independent(rng, RPS * share, seconds) for share, seconds in parts])]
        both += [np.concatenate([independent(rng, RPS * (1 - share), seconds) for share, seconds in parts])]
        delays.append(when_wrong(np.stack(both, axis=-1)) - parts[0][1])

    assert 0 < np.median(delays) <= 90
    assert max(delays) <= 180
