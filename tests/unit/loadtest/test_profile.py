from __future__ import annotations

import copy
import json
import random
from pathlib import Path

import pytest
import yaml

from loadtest.profile import parse_profile, profile_schema, validate_profile
from loadtest.schedule import duration, peak, rate_at, requests_due
from loadtest.validation.spec_from_profile import load_spec
from rollout.errors import PlanError

ROOT = Path(__file__).parents[3]
GOOD = """
rate: 100
duration: 30s
endpoints:
  - {name: front, path: /, weight: 3}
  - {name: order, method: POST, path: /order, body_file: order.json, headers: {content-type: application/json}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "order.json").write_text('{"item": 7}')
    return tmp_path


def test_a_profile_becomes_the_requests_that_it_names(folder: Path):
    profile = parse_profile(GOOD + "headers: {x-canary: always}", folder=folder)

    spec = load_spec(profile, "http://127.0.0.1:80/shop/", folder=folder)

    front, bought = spec.requests
    assert (front.path, front.weight, front.headers) == ("/shop/", 3, {"x-canary": "always"})
    assert (bought.method, bought.path, bought.body) == ("POST", "/shop/order", '{"item": 7}')
    assert bought.headers == {"x-canary": "always", "content-type": "application/json"}
    assert requests_due(spec.stages) == 3000


def test_the_profile_in_the_repository_is_valid_and_its_keys_are_documented():
    parse_profile((ROOT / "loadtest.yaml").read_text(), folder=ROOT)

    assert json.loads((ROOT / "docs" / "loadtest.schema.json").read_text()) == profile_schema()


@pytest.mark.parametrize(
    ("shape", "moments"),
    [
        ("{kind: ramp, start: 10, over: 10s}", {0: 10, 5: 55, 10: 100, 29: 100}),
        ("{kind: step, start: 20, steps: 3, every: 5s}", {1: 20, 6: 60, 11: 100, 29: 100}),
        ("{kind: spike, peak: 400, after: 5s, lasts: 2s}", {1: 100, 6: 400, 8: 100}),
        ("{kind: soak, warm_up: 20s}", {10: 50, 25: 100}),
    ],
)
def test_a_shape_is_the_rate_over_time(shape: str, moments: dict[float, float], folder: Path):
    stages = parse_profile(f"{GOOD}\nshape: {shape}", folder=folder).stages(100)

    assert {at: pytest.approx(rate_at(stages, at)) for at in moments} == moments
    assert duration(stages) == pytest.approx(30)


def test_a_shape_longer_than_the_test_is_cut_off(folder: Path):
    stages = parse_profile(f"{GOOD}\nshape: {{kind: ramp, over: 1m}}", folder=folder).stages(100)

    assert duration(stages) == pytest.approx(30)
    assert peak(stages) == pytest.approx(50)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"endpionts": []}, "endpionts: unknown key"),
        ({"endpoints": [{"path": "/", "weight": 0}]}, "endpoints[0].weight: got 0"),
        ({"endpoints": [{"path": "/", "wieght": 1}]}, "endpoints[0].wieght: unknown key"),
        ({"endpoints": [{"path": "cart"}]}, "endpoints[0].path: got 'cart'"),
        ({"endpoints": [{"path": "/", "body_file": "missing.json"}]}, "endpoints[0].body_file: got 'missing.json'"),
        ({"endpoints": [{"path": "/", "headers": {"a b": "c"}}]}, "endpoints[0].headers"),
        ({"url": "http://"}, "url: load url is 'http://'"),
        ({"url": "http://shop.example/"}, "url: load url is 'http://shop.example/'"),
        ({"rate": -5}, "rate: got -5"),
        ({"rate": "fast"}, "rate: got 'fast'"),
        ({"rate": float("nan")}, "rate: got nan"),
        ({"ceiling": 50}, "ceiling is 50, allowed: the highest rate asked for (100) or more"),
        ({"duration": "0s"}, "duration: got '0s'"),
        ({"shape": {"kind": "wave"}}, "shape: got"),
        ({"shape": {"kind": "spike", "peak": 10, "lasts": "1s"}}, "shape.spike.after: missing"),
        ({"model": "closed"}, "users: missing"),
        ({"users": 5}, "users: got it with model open"),
        ({"back_off": {"above": 0.5}}, "back_off.above: got 0.5"),
        ({"criteria": {"p95_below": "fast"}}, "criteria.p95_below: got 'fast'"),
        ({"locustfile": "mine.py"}, "locustfile: got it together with endpoints"),
        ({"processes": 0}, "processes: got 0"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_field(change: dict[str, object], field: str, folder: Path):
    with pytest.raises(PlanError) as caught:
        validate_profile(yaml.safe_load(GOOD) | change, source="loadtest.yaml", folder=folder)

    assert str(caught.value).startswith(f"loadtest.yaml: {field}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "[]", "rate: [", "\x00", "&a [*a]", "1: 2", "rate: 1e999", "!!python/object:x {}"]
)
def test_what_is_no_profile_is_said_in_a_line(text: str):
    with pytest.raises(PlanError, match=r"^loadtest.yaml: .+$"):
        parse_profile(text, source="loadtest.yaml")


JUNK = (None, True, -1, 0, 1e308, "", "x", "5%", "-3s", [], {}, [None], {"a": 1}, "\0", "é" * 300, 10**30, "../..")


def test_two_hundred_broken_profiles_are_told_in_lines_and_never_a_traceback(folder: Path):
    draw = random.Random(5)
    told = [_told(_broken(draw), folder) for _ in range(200)]

    refused = [line for text in told for line in text.splitlines()]
    assert sum(bool(text) for text in told) > 150
    assert all(line.startswith("loadtest.yaml: ") for line in refused)


def _told(data: dict[str, object], folder: Path) -> str:
    try:
        parse_profile(yaml.safe_dump(data), source="loadtest.yaml", folder=folder)
    except PlanError as error:
        return str(error)
    return ""


def _broken(draw: random.Random) -> dict[str, object]:
    data = copy.deepcopy(yaml.safe_load((ROOT / "loadtest.yaml").read_text()))
    for _ in range(draw.randint(1, 3)):
        _break(data, draw)
    return data


def _break(data: dict[str, object], draw: random.Random) -> None:
    """Put junk somewhere: in place of a value, or under a key that is none."""
    at: dict[str, object] = data
    while draw.random() < 0.5:
        inner = [value for value in at.values() if isinstance(value, dict)]
        inner += [one for value in at.values() if isinstance(value, list) for one in value if isinstance(one, dict)]
        if not inner:
            break
        at = draw.choice(inner)
    key = draw.choice([*at, "unknown", "users", "think", "locustfile"])
    at[key] = draw.choice(JUNK)


def test_a_profile_of_health_checks_alone_is_recognised():
    probes = [{"path": "/healthz"}, {"path": "/-/ready?verbose=1"}]

    assert validate_profile({"endpoints": probes}).is_only_a_health_check
    assert not validate_profile({"endpoints": [*probes, {"path": "/"}]}).is_only_a_health_check


def test_a_host_beyond_loopback_has_to_be_allowed():
    allowed = {"url": "http://shop.test:8080/", "allow": ["shop.test:8080"]}

    assert validate_profile(allowed).url == "http://shop.test:8080/"
    with pytest.raises(PlanError, match=r"shop.test:9090.*shop.test:8080"):
        validate_profile(allowed | {"url": "http://shop.test:9090/"})
