"""What the judge says of traffic as real meshes count it, read from a real Prometheus.

Each case is a service of its own in one server. All last 25 minutes, with a scrape every five seconds; from minute five
on v2 has 20 % of a hundred requests a second, and both answer in 20 ms unless the case says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import yaml

from analysis.judge import Judge
from analysis.offline.backtest import Backtest, backtest_samples, since_canary
from analysis.scrapes.increments import CANARY, STABLE, Scrapes
from analysis.scrapes.reading import Cursor
from analysis.scrapes.samples import Samples
from backends.prometheus import PrometheusMetrics
from rollout.model import Track
from rollout.plan import RolloutPlan, parse_plan
from tests.prometheus.mesh import OK, START, Answer, Proxy, Scraped
from tests.prometheus.server import serving

ROOT = Path(__file__).parents[2]
MINUTES, SCRAPE, RPS = 25, 5, 100
END = START + MINUTES * 60
CANARY_AT = START + 5 * 60
CASES: dict[str, Callable[[Scraped, str], None]] = {}
NOT_FOUND, UNAUTHORIZED, REDIRECT = ("404", "-", ""), ("401", "-", ""), ("302", "-", "")
CUT_OFF, BROKEN_OFF = ("0", "DC", ""), ("200", "UC", "")


def case(write: Callable[[Scraped, str], None]) -> Callable[[Scraped, str], None]:
    CASES[write.__name__.replace("_", "-")] = write
    return write


def ticks() -> Iterator[tuple[int, float]]:
    """Yield each scrape's time, and the canary's share of the five seconds before it."""
    for at in range(START, END, SCRAPE):
        yield at, 0.2 if at > CANARY_AT else 0.0


def answer(proxies: list[Proxy], share: float, *, stable: Mix | None = None, canary: Mix | None = None) -> None:
    """Let proxies answer five seconds of requests between them; a mix is answers with their share and ms."""
    for proxy in proxies:
        number = RPS * SCRAPE / len(proxies)
        for version, part, mix in (("v1", 1 - share, stable), ("v2", share, canary)):
            for kind, (of, ms) in (mix or {OK: (1.0, 20.0)}).items():
                proxy.serve(version, kind, number * part * of, ms)


Mix = dict[Answer, tuple[float, float]]


@case
def a_gateway_leaves(scraped: Scraped, service: str) -> None:
    gateways = [Proxy.old("10.0.0.1"), Proxy.old("10.0.0.2")]
    for at, share in ticks():
        there = gateways if at < START + 600 else gateways[:1]
        answer(there, share)
        for gateway in there:
            scraped.scrape(service, gateway, at)


@case
def a_gateway_leaves_with_scrapes_at_moments_of_their_own(scraped: Scraped, service: str) -> None:
    gateways = [Proxy.old("10.0.1.1"), Proxy.old("10.0.1.2")]
    for at, share in ticks():
        there = gateways if at < START + 600 else gateways[:1]
        answer(there[:1], share)
        scraped.scrape(service, there[0], at + 0.731)
        if there[1:]:
            answer(there[1:], share)
            scraped.scrape(service, there[1], at + 3.214)


@case
def a_gateway_restarts_in_place(scraped: Scraped, service: str) -> None:
    gateways = [Proxy.old("10.0.2.1"), Proxy.old("10.0.2.2")]
    for at, share in ticks():
        if at in (START + 600, START + 900):
            gateways[1].restart()
        answer(gateways, share)
        for gateway in gateways:
            scraped.scrape(service, gateway, at)


@case
def an_autoscaler_adds_and_removes_gateways(scraped: Scraped, service: str) -> None:
    first, others = Proxy.old("10.0.3.1"), list[Proxy]()
    for at, share in ticks():
        minute = (at - START) // 60
        if minute % 6 >= 3 and not others:
            others = [Proxy.old(f"10.0.3.{10 + minute}"), Proxy(f"10.0.3.{11 + minute}")]
        if minute % 6 < 3:
            others = []
        answer([first, *others], share)
        for gateway in (first, *others):
            scraped.scrape(service, gateway, at)


@case
def all_404(scraped: Scraped, service: str) -> None:
    _alone(scraped, service, "10.0.4.1", canary={NOT_FOUND: (1.0, 3.0)})


@case
def all_401(scraped: Scraped, service: str) -> None:
    _alone(scraped, service, "10.0.5.1", canary={UNAUTHORIZED: (1.0, 3.0)})


@case
def all_302(scraped: Scraped, service: str) -> None:
    _alone(scraped, service, "10.0.6.1", canary={REDIRECT: (1.0, 3.0)})


@case
def a_tenth_404_in_both(scraped: Scraped, service: str) -> None:
    mix = {OK: (0.9, 20.0), NOT_FOUND: (0.1, 20.0)}
    _alone(scraped, service, "10.0.7.1", stable=mix, canary=mix)


@case
def a_code_that_goes_stale_and_comes_back(scraped: Scraped, service: str) -> None:
    gateway = Proxy.old("10.0.8.1")
    gateway.serve("v1", NOT_FOUND, 40_000)
    for at, share in ticks():
        answer([gateway], share)
        if at == START + 420:
            del gateway.counted["v2", ("503", "UF", "")], gateway.counted["v1", NOT_FOUND]
        if at >= START + 900:
            gateway.serve("v1", NOT_FOUND, 1)
        scraped.scrape(service, gateway, at)


@case
def grpc_unavailable(scraped: Scraped, service: str) -> None:
    fine, failed = ("200", "-", "0"), ("200", "-", "14")
    _alone(scraped, service, "10.0.9.1", stable={fine: (1.0, 20.0)}, canary={fine: (0.8, 20.0), failed: (0.2, 20.0)})


@case
def grpc_not_found_in_both(scraped: Scraped, service: str) -> None:
    mix = {("200", "-", "0"): (0.8, 20.0), ("200", "-", "5"): (0.2, 20.0)}
    _alone(scraped, service, "10.0.10.1", stable=mix, canary=mix)


@case
def clients_cut_off_by_the_canary(scraped: Scraped, service: str) -> None:
    _alone(scraped, service, "10.0.11.1", canary={OK: (0.9, 20.0), CUT_OFF: (0.1, 20.0)})


@case
def answers_broken_off_by_the_canary(scraped: Scraped, service: str) -> None:
    _alone(scraped, service, "10.0.12.1", canary={OK: (0.9, 20.0), BROKEN_OFF: (0.1, 20.0)})


@case
def two_replicas_of_prometheus(scraped: Scraped, service: str) -> None:
    _by_two(scraped, service, "10.0.13", lambda at, replica: {"replica": replica})


@case
def two_replicas_of_which_one_dies(scraped: Scraped, service: str) -> None:
    dies = START + 700
    _by_two(
        scraped, service, "10.0.14", lambda at, replica: None if replica == "a" and at > dies else {"replica": replica}
    )


@case
def two_replicas_behind_a_querier(scraped: Scraped, service: str) -> None:
    def elected(at: float, replica: str) -> dict[str, str] | None:
        return {} if replica == "ab"[int((at - START) // 240) % 2] else None

    _by_two(scraped, service, "10.0.15", elected)


@case
def a_gateway_that_says_when_it_started(scraped: Scraped, service: str) -> None:
    first, second, started = Proxy.old("10.0.16.1"), Proxy("10.0.16.2"), START + 1140 - 12
    for at, share in ticks():
        there = [first, second] if at >= START + 1140 else [first]
        answer([first], share)
        if at == START + 1140:  # more than in any other five seconds, so that it shows
            second.serve("v1", OK, 800)
            second.serve("v2", OK, 200)
        for gateway in there:
            scraped.scrape(service, gateway, at)
            scraped.process_started(gateway, started if gateway is second else START - 90_000, at)


def _alone(
    scraped: Scraped, service: str, instance: str, *, stable: Mix | None = None, canary: Mix | None = None
) -> None:
    gateway = Proxy(instance)
    for at, share in ticks():
        answer([gateway], share, stable=stable, canary=canary)
        scraped.scrape(service, gateway, at)


def _by_two(
    scraped: Scraped, service: str, network: str, labels: Callable[[float, str], dict[str, str] | None]
) -> None:
    """Let two replicas scrape two gateways at moments of their own; one of the gateways restarts, the other leaves."""
    gateways = [Proxy.old(f"{network}.1"), Proxy.old(f"{network}.2")]
    for at, share in ticks():
        if at == START + 800:
            gateways[0].restart()
        there = gateways if at < START + 1000 else gateways[:1]
        for replica, offset in (("a", 0.2), ("b", 2.9)):
            answer(there, share)
            for gateway in there:
                if (view := labels(at, replica)) is not None:
                    scraped.scrape(service, gateway, at + offset, **view)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    scraped = Scraped()
    for service, write in CASES.items():
        write(scraped, service)
    with serving(tmp_path_factory.mktemp("prometheus"), scraped.lines()) as url:
        yield url


def plan() -> RolloutPlan:
    document = yaml.safe_load((ROOT / "demo.yaml").read_text())
    steps = [step | {"bake": "30s", "deadline": "90s"} for step in document["steps"]]
    return parse_plan(yaml.safe_dump(document | {"scrape": "5s", "steps": steps}))


def samples(address: str, service: str) -> Samples:
    versions = {Track.STABLE: "v1", Track.CANARY: "v2"}
    metrics = PrometheusMetrics(address, service, versions, timeout=timedelta(minutes=1))
    return metrics.read_range(datetime.fromtimestamp(START - 1, UTC), datetime.fromtimestamp(END, UTC))


def judged(address: str, service: str) -> tuple[Backtest, Scrapes]:
    judge, read = Judge.for_plan(plan()), samples(address, service)
    return backtest_samples(service, since_canary(read), judge), judge.read(Cursor(), read)[0]


HARMLESS = (
    "a-gateway-leaves",
    "a-gateway-leaves-with-scrapes-at-moments-of-their-own",
    "a-gateway-restarts-in-place",
    "an-autoscaler-adds-and-removes-gateways",
    "a-tenth-404-in-both",
    "a-code-that-goes-stale-and-comes-back",
    "grpc-not-found-in-both",
    "two-replicas-of-prometheus",
    "two-replicas-of-which-one-dies",
    "two-replicas-behind-a-querier",
    "a-gateway-that-says-when-it-started",
)


@pytest.mark.parametrize("service", HARMLESS)
def test_a_canary_that_does_nothing_wrong_is_promotable_whatever_happens_to_the_proxies(
    address: str, service: str
) -> None:
    result, scrapes = judged(address, service)

    assert result.rollback_at is None, result.reason
    assert result.promote_at is not None, result.reason
    assert scrapes.errors.sum() == 0


@pytest.mark.parametrize("service", ["all-404", "all-401", "all-302"])
def test_a_canary_that_answers_what_stable_never_does_is_rolled_back_however_fast_it_answers(
    address: str, service: str
) -> None:
    result, scrapes = judged(address, service)

    assert result.rollback_at is not None, result.reason
    assert result.promote_at is None
    assert scrapes.errors.sum() == 0


@pytest.mark.parametrize(
    "service", ["grpc-unavailable", "answers-broken-off-by-the-canary", "clients-cut-off-by-the-canary"]
)
def test_a_canary_that_fails_behind_status_200_or_none_is_rolled_back(address: str, service: str) -> None:
    result, _ = judged(address, service)

    assert result.rollback_at is not None, result.reason
    assert result.promote_at is None


def test_errors_of_grpc_and_of_answers_that_broke_off_are_counted_as_errors(address: str) -> None:
    unavailable, broken = (
        judged(address, name)[1] for name in ("grpc-unavailable", "answers-broken-off-by-the-canary")
    )

    for scrapes, share in ((unavailable, 0.2), (broken, 0.1)):
        assert scrapes.errors[:, STABLE].sum() == 0
        assert scrapes.errors[:, CANARY].sum() == pytest.approx(share * scrapes.requests[:, CANARY].sum())


@pytest.mark.parametrize(
    "service", ["two-replicas-of-prometheus", "two-replicas-of-which-one-dies", "two-replicas-behind-a-querier"]
)
def test_an_ha_pair_of_prometheus_counts_each_request_once(address: str, service: str) -> None:
    """From the first scrape on; what is lost is lost before the restart, and where the one goes over to the other."""
    _, scrapes = judged(address, service)

    answered = RPS * SCRAPE * (2 * MINUTES * 60 / SCRAPE - 1)
    assert answered - 4 * RPS * SCRAPE <= scrapes.requests.sum() <= answered


def test_a_gateway_that_started_under_our_eyes_counts_from_its_first_sample(address: str) -> None:
    _, scrapes = judged(address, "a-gateway-that-says-when-it-started")

    at = scrapes.time == START + 1140
    assert scrapes.requests[at].sum() == RPS * SCRAPE + 1000
    assert np.delete(scrapes.requests.sum(axis=1), np.flatnonzero(at)) == pytest.approx(RPS * SCRAPE)
