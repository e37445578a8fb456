from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from analysis.offline.peer_replay import PeerSettings, PeerVerdict, replay
from analysis.scrapes.increments import Scrapes
from benchmarks.simulated.families import Family, Fault
from benchmarks.simulated.simulator import scrapes_of, simulate

SHORT = PeerSettings(kayenta_interval=600, kayenta_lifetime=1800)


def scraped(fault: Fault, *, rps: float = 100, seconds: float = 1800) -> Scrapes:
    family = Family("one", rps=rps, fault=fault, duration=seconds, steps=((0.0, 0.2),))
    return scrapes_of(simulate(family, runs=1, seed=2, history=60), 0)


def verdicts(scrapes: Scrapes, settings: PeerSettings = SHORT) -> dict[str, PeerVerdict]:
    return {verdict.rule: verdict for verdict in replay(scrapes, settings=settings)}


def without(scrapes: Scrapes, start: float, end: float) -> Scrapes:
    keep = (scrapes.time <= start) | (scrapes.time > end)
    cut = {name: getattr(scrapes, name)[keep] for name in ("time", "span", "requests", "errors", "sums", "latency")}
    return replace(scrapes, **cut, pods=scrapes.pods[keep], extra=scrapes.extra[keep])


def test_a_canary_with_many_errors_is_rolled_back_when_each_rule_says():
    said = verdicts(scraped(Fault(error_ratio=0.2)))

    # five failed checks, then the next tick; the fourth failed measurement; the first judgement
    assert said["flagger"] == PeerVerdict("flagger", rollback_at=360)
    assert said["argo"] == PeerVerdict("argo", rollback_at=240)
    assert said["kayenta"] == PeerVerdict("kayenta", rollback_at=600)


def test_a_healthy_canary_is_promoted_by_flagger_at_its_fifth_check():
    said = verdicts(scraped(Fault()))

    assert said["flagger"] == PeerVerdict("flagger", promote_at=300)
    assert said["argo"] == PeerVerdict("argo")
    assert said["kayenta"] == PeerVerdict("kayenta", promote_at=1800)


def test_five_times_the_errors_below_a_fixed_limit_are_promoted_by_fixed_limits():
    said = verdicts(scraped(Fault(error_factor=5)))

    assert said["flagger"].promote_at == 300
    assert said["argo"].rollback_at is None


def test_a_quantile_above_half_a_second_fails_flaggers_check():
    said = verdicts(scraped(Fault(scale=3)))

    assert said["flagger"].rollback_at == 360
    assert said["argo"].rollback_at is None  # its mean is below 500 ms


def test_a_metrics_outage_ends_a_healthy_canary_at_argos_fifth_error_and_costs_flagger_its_checks():
    cut = without(scraped(Fault()), 120, 500)

    said = verdicts(cut, replace(SHORT, flagger_advances=None))

    # 120 is good, 180 the first error, retried every 10 s; flagger fails at 180, 240, 300, 360, 420
    assert said["argo"].rollback_at == 220
    assert said["flagger"].rollback_at == 480


def test_no_traffic_fails_the_checks_of_both():
    idle = scraped(Fault())
    idle = replace(idle, requests=idle.requests * [0, 1], errors=idle.errors * [0, 1])

    said = verdicts(idle)

    assert said["flagger"].rollback_at == 360
    assert said["argo"].rollback_at == 240


def test_an_analysis_that_the_series_outruns_is_not_promoted():
    assert verdicts(scraped(Fault(), seconds=1500))["kayenta"] == PeerVerdict("kayenta")


def test_no_scrapes_say_nothing():
    assert all(verdict == PeerVerdict(verdict.rule) for verdict in replay(scraped(Fault())[:0]))


@pytest.mark.parametrize("end", [300, 360, 415])
def test_what_a_rule_says_does_not_depend_on_what_comes_later(end: float):
    whole = scraped(Fault(error_ratio=0.2))
    cut = whole[: int(np.searchsorted(whole.time, end, side="right"))]

    for later, earlier in zip(replay(whole, settings=SHORT), replay(cut, settings=SHORT), strict=True):
        assert earlier == (later if (later.rollback_at or 1e9) <= end else PeerVerdict(later.rule))
