from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from analysis.judge import Judge
from analysis.offline.power import Detection, Power, StepPower, plan_power
from analysis.offline.traces import read_trace
from analysis.offline.traffic import EFFECTS, Effect, assumed_traffic
from backends.prometheus.address import Address
from backends.prometheus.http_config import Access
from benchmarks.simulated.families import Family
from benchmarks.simulated.simulator import simulate
from benchmarks.simulated.trace_writer import write_trace
from cli.command_line import run as main
from report.plan.power_page import Scale, headline, locust_advice, render_power, tone
from rollout.plan import RolloutPlan, dump_plan, parse_plan
from tests.flows.prometheus_server import serving
from wiring.power_forecast import assumed, measured, reader_at

STRATEGY = parse_plan((Path(__file__).parents[2] / "rollout.yaml").read_text())
QUICK = RolloutPlan.model_validate(
    STRATEGY.model_dump(mode="json")
    | {
        "steps": [
            {"name": "some", "canary": "20%", "replicas": 1, "bake": "5m"},
            {"name": "all", "canary": "100%", "replicas": 3, "bake": "5m"},
        ],
        "warm_up": "10s",
    }
)


class Answer(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def canary(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    def run(*arguments: object) -> Answer:
        monkeypatch.setattr("sys.argv", ["canary", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "100")
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return Answer(int(ended.value.code or 0), told.out, told.err)

    return run


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plan") / "quick.yaml"
    path.write_text(dump_plan(QUICK))
    return path


def test_the_strategys_plan_is_answered_as_a_table(canary: Any) -> None:
    answer = canary("plan", "--rps", "100")

    assert answer.code == 0
    for words in (
        "canary-app v1 → v2",
        "100 requests/s",
        "allows 1 % of healthy canaries",
        "introduce",
        "increase",
        "full",
    ):
        assert words in answer.out
    for effect in EFFECTS:
        assert effect.name in answer.out


def test_json_holds_every_effect_and_every_step(canary: Any, quick: Path) -> None:
    told = json.loads(canary("plan", "--plan", quick, "--rps", "500", "--errors", "0.01%", "--json").out)

    assert [each["effect"] for each in told["detections"]] == [effect.name for effect in EFFECTS]
    assert [each["step"] for each in told["steps"]] == ["some", "all"]
    assert told["traffic"] == {
        "rps": 500.0,
        "error_ratio": 0.0001,
        "latency_ms": pytest.approx(55),
        "source": "assumed",
    }
    assert told["false_rollback"]["at_most"] == 0.01
    assert told["promoted_after"] == 600


def test_the_same_question_has_the_same_answer(canary: Any, quick: Path) -> None:
    asked = ("plan", "--plan", quick, "--rps", "50", "--json")

    assert canary(*asked) == canary(*asked)


def test_a_longer_bake_needs_a_lower_rate(canary: Any, quick: Path) -> None:
    short, long = (
        json.loads(canary("plan", "--plan", quick, "--rps", "20", "--bake", bake, "--json").out)
        for bake in ("5m", "1h")
    )

    assert short["steps"][0]["bake"] == 300
    assert long["steps"][0]["bake"] == 3600
    assert long["steps"][0]["rate_needed"] < short["steps"][0]["rate_needed"]
    assert short["steps"][0]["locust_rate"] == pytest.approx(short["steps"][0]["rate_needed"] - 20)


def test_a_page_stands_alone(canary: Any, quick: Path, tmp_path: Path) -> None:
    page = tmp_path / "plan.html"

    answer = canary("plan", "--plan", quick, "--rps", "500", "--html", page)

    text = page.read_text()
    assert f"page: {page}" in answer.out
    assert len(text) < 1_000_000
    for outside in ("http:", "https:", "<script", "url(", "@import"):
        assert outside not in text
    for effect in EFFECTS:
        assert effect.name in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--rps: missing, allowed: requests a second, or --prometheus URL"),
        (["--rps", "0"], "--rps: got 0, allowed: above 0"),
        (["--rps", "nan"], "--rps: got nan, allowed: above 0"),
        (["--rps", "inf"], "--rps: got inf, allowed: above 0"),
        (["--rps", "5", "--errors", "200%"], "--errors: got '200%', allowed: a share from 0% to 100%"),
        (["--rps", "5", "--latency", "quick"], "--latency: got 'quick', allowed: a duration"),
        (["--rps", "5", "--latency", "0ms"], "--latency: got '0ms', allowed: a latency from 1ms"),
        (["--rps", "5", "--bake", "1s"], "allowed: one scrape (5s) or more"),
        (["--rps", "5", "--alpha", "0%"], "--alpha: got '0%', allowed: above 0%"),
        (["--rps", "5", "--plan", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
        (["--rps", "500", "--html", "nowhere/page.html"], "nowhere/page.html: cannot be written"),
    ],
)
def test_what_is_asked_wrongly_is_refused_in_one_line(canary: Any, arguments: list[str], said: str) -> None:
    answer = canary("plan", *arguments)

    assert answer.code == 2
    assert said in answer.err
    assert answer.err.count("\n") == 1
    assert answer.out == ""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    import time

    path = tmp_path_factory.mktemp("live") / "live.csv"
    family = Family("live", rps=60, error_ratio=0.002, duration=60.0, scrape=15.0, steps=((0.0, 0.2),))
    write_trace(simulate(family, runs=1, seed=1, history=1800.0), 0, path)
    with serving(read_trace(path), start=time.time() + 30) as server:  # so that stable alone has been scraped
        yield server.url


def test_traffic_is_measured_where_prometheus_has_it(server: str) -> None:
    traffic, learnt = measured(reader_at(Address(server), Access(), QUICK), Judge.for_plan(QUICK), None)

    assert traffic.rps == pytest.approx(60, rel=0.02)
    assert traffic.error_ratio == pytest.approx(0.002, rel=0.3)
    assert traffic.latency_ms == pytest.approx(55, rel=0.05)
    assert learnt.baseline[0] > 50_000


def test_a_plan_is_answered_for_the_measured_traffic(canary: Any, quick: Path, server: str) -> None:
    told = json.loads(canary("plan", "--plan", quick, "--prometheus", server, "--json").out)

    assert told["traffic"]["source"] == "measured by Prometheus over the last hour"
    assert told["traffic"]["rps"] == pytest.approx(60, rel=0.02)


def test_a_server_that_is_down_is_one_line(canary: Any, quick: Path) -> None:
    answer = canary("plan", "--plan", quick, "--prometheus", "http://127.0.0.1:9")

    assert answer.code == 1
    assert answer.err.startswith("canary: query http://127.0.0.1:9")


def test_assumed_traffic_has_the_mean_that_was_asked_for() -> None:
    assert assumed(10, 0.0, 120.0).latency_ms == pytest.approx(120)


def step(median: float | None, rate_needed: float | None, bake: float = 600.0) -> StepPower:
    return StepPower("some", 0.2, bake, 2 * bake, median, None, 0.5, rate_needed)


def power(*steps: StepPower, detections: tuple[Detection, ...] = ()) -> Power:
    return Power(assumed_traffic(10), detections, steps, 0.01, 0, 30)


@pytest.mark.parametrize(
    ("median", "words", "style"),
    [
        (300.0, "A typical healthy canary is through after 10 min, as soon as the steps have baked.", "good"),
        (900.0, "through after 15 min: some takes longer than its bake time", "open"),
        (None, "some ends inconclusive", "bad"),
    ],
)
def test_the_headline_says_what_a_healthy_canary_has_to_expect(median: float | None, words: str, style: str) -> None:
    told = power(step(median, 20.0))

    assert words in headline(told)
    assert tone(told) == style


@pytest.mark.parametrize(
    ("needed", "words"),
    [(24.5, "add 15/s, to 25/s"), (4.26, "enough from 4.3/s"), (None, "no rate: bake longer")],
)
def test_the_advice_is_the_load_that_locust_would_have_to_add(needed: float | None, words: str) -> None:
    assert locust_advice(power(), step(None, needed)) == words


def test_times_lie_on_a_logarithmic_scale() -> None:
    scale = Scale(1.0, 10_000.0)

    assert [scale.place(seconds) for seconds in (0, 1, 10, 100, 10_000, 1e9)] == [0, 0, 25, 50, 100, 100]
    assert [tick.label for tick in scale.ticks] == ["1 s", "10 s", "1 min", "10 min", "1 h"]


def test_names_cannot_rewrite_the_page() -> None:
    never = Detection("<b>bold</b>", None, None, 0.0)

    page = render_power(QUICK, power(step(300.0, None), detections=(never,)), source="<i>me</i>")

    assert "<b>bold" not in page
    assert "<i>me" not in page
    assert "never" in page


def test_a_fault_that_no_traffic_shows_is_never_found() -> None:
    found = plan_power(Judge.for_plan(QUICK), assumed_traffic(1), effects=(Effect("tiny", error_factor=1.1),), runs=4)

    assert found.detections[0].median is None
