"""What a plan's selectors take and refuse, and which series they select, beside a matcher written apart."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from analysis.scrapes import samples
from rollout.criteria import RECORDED
from rollout.errors import PlanError
from rollout.plan import dump_plan, parse_plan
from rollout.selectors import Matcher, Operator, Selector, metric_name

TEXT = Path("rollout.yaml").read_text(encoding="utf-8")


def plan_with(**criteria: object) -> str:
    written = yaml.safe_load(TEXT)
    return yaml.safe_dump(written | {"criteria": written["criteria"] | criteria})


def ratio(events: str, total: str = "orders_total") -> dict[str, object]:
    return {"ratios": [{"name": "failed checkouts", "events": events, "total": total}]}


@pytest.mark.parametrize(
    ("text", "promql"),
    [
        ("orders_total", "orders_total"),
        ("orders_total{}", "orders_total"),
        ("orders_total{status=~'5..', method!=\"GET\",}", 'orders_total{status=~"5..", method!="GET"}'),
        (' orders_total { path = `C:\\x` , q="a\\"b\\n" } ', 'orders_total{path="C:\\\\x", q="a\\"b\\n"}'),
        ('{"http.requests", status="500"}', '{__name__="http.requests", status="500"}'),
        ('{__name__="orders_total"}', "orders_total"),
        ('grpc_server_handled_total{grpc_code!="OK"}', 'grpc_server_handled_total{grpc_code!="OK"}'),
        ('orders_total{"http.status"="500"}', 'orders_total{"http.status"="500"}'),
        ('orders_total{status=~".+", code=~"[^5]*", reason=~"|.*5.*"}',) * 2,
    ],
)
def test_a_selector_is_rebuilt_from_its_parts_and_stays_what_it_was(text: str, promql: str) -> None:
    assert Selector.parse(text).promql == promql
    assert Selector.parse(promql) == Selector.parse(text)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("rate(orders_total[5m])", "at character 5, '(orders_total[5m])': a function"),
        ("sum by (pod) (orders_total)", "at character 5, 'by (pod) (orders_total)': an aggregation"),
        ("orders_total[5m]", "at character 13, '[5m]': a range"),
        ("orders_total offset 5m", "at character 14, 'offset 5m': another moment than now"),
        ("orders_total{a='b'} @ 5", "at character 21, '@ 5': another moment than now"),
        ("orders_total / 2", "at character 14, '/ 2': an operation"),
        ("orders_total{a='b' or c='d'}", "at character 20, \"or c='d'}\": matchers joined by or"),
        ("-orders_total", "at character 1, '-orders_total': a sign"),
        ("http.requests", "at character 5, '.requests'"),
        ("orders_total{status=500}", "at character 21, '500}'"),
        ("orders_total{status='500'", "at its end"),
        ("orders_total{status=~'5('}", "at character 24"),
        ("orders_total{status!~'(?=5)'}", "at character 23"),
        ("{status='500'}", "no name where one metric's name has to be"),
        ("{__name__=~'a|b'}", '__name__=~"a|b" where one metric\'s name has to be'),
        ('{"a", "b"}', '__name__="a" and __name__="b"'),
        ("orders_total{status=~'.*'}", 'status=~".*" matches every series'),
        ("orders_total{status=~'(?:.*)|500'}", "matches every series"),
        ("orders_total{status!~'.*'}", "matches no series"),
        ("orders_total{status=~'5)|(4'}", 'status=~"5)|(4": no regular expression'),
        ("orders_total{status=~'{abc}'}", "no regular expression"),
        ("'orders_total'", "in braces"),
        ("5", "a number"),
    ],
)
def test_what_is_no_selector_is_refused_with_field_place_and_what_is_allowed(text: str, place: str) -> None:
    with pytest.raises(PlanError) as refused:
        parse_plan(plan_with(**ratio(text)))

    (line,) = str(refused.value).splitlines()
    assert "criteria.ratios[0].events: got " in line
    assert place in line
    assert "allowed: " in line


@pytest.mark.parametrize(
    ("field", "criteria", "reason"),
    [
        ("ratios[0].total", ratio("orders_total", "orders_total{version='v2'}"), 'version="v2" chooses the track'),
        ("ratios[0].events", ratio("orders_created"), "allowed: the counter, such as orders_total"),
        ("ratios[0].events", ratio("seconds_bucket{app='a'}"), 'seconds_bucket{le="0.5"}'),
        ("ratios[0].total", ratio("orders_total", "requests_total"), "allowed: requests_total{}"),
        ("complaints.counter", {"complaints": {"counter": "rate(complaints_total[5m])"}}, "a function"),
        (
            "gauges[0].metric",
            {"gauges": [{"name": "m", "metric": "memory_bytes{area=heap}", "rollback_above": 1, "for": "1m"}]},
            "at character 19, 'heap}'",
        ),
    ],
)
def test_each_field_refuses_what_it_cannot_mean(field: str, criteria: dict[str, object], reason: str) -> None:
    with pytest.raises(PlanError, match=re.escape(f"criteria.{field}: got")) as refused:
        parse_plan(plan_with(**criteria))

    assert reason in str(refused.value)


def test_a_plan_with_selectors_survives_being_written_and_read() -> None:
    plan = parse_plan(
        plan_with(
            ratios=[
                {"name": "slow", "events": "s_bucket{le=~'0.5|0.50'}", "total": "s_count", "worse": "lower"},
                {"name": "broken", "events": '{"http.requests", status=~"5.."}', "total": '{"http.requests"}'},
            ],
            complaints={"counter": "complaints_total{service='shop'}"},
        )
    )

    assert parse_plan(dump_plan(plan)) == plan
    assert plan.criteria.metrics[0] == "s_bucket{le=~'0.5|0.50'}"


@pytest.mark.parametrize("page", ["README.md", "docs/statistics.md"])
def test_the_pages_show_metrics_that_a_plan_takes(page: str) -> None:
    blocks = re.findall(r"```yaml\n(criteria:.*?)```", Path(page).read_text(encoding="utf-8"), re.DOTALL)
    shown = [yaml.safe_load(block)["criteria"] for block in blocks]

    assert any('{uri="' in str(criteria) for criteria in shown)
    for criteria in shown:
        parse_plan(plan_with(**criteria))


def test_the_names_that_recordings_have_taken_are_those_that_the_judge_reads() -> None:
    read = {samples.REQUESTS, samples.ERRORS, samples.BUCKET, samples.SUM, samples.COUNT, samples.WEIGHT}

    assert read | {"restarts_total"} == RECORDED


def test_a_text_that_is_no_selector_names_itself() -> None:
    assert [metric_name(text) for text in ("a_total{b='c'}", '{"a.b_total"}', "a b", "")] == [
        "a_total",
        "a.b_total",
        "a b",
        "",
    ]


TEXTS = st.text(st.sampled_from("ab5.\n é\"\\'{}"), max_size=6)
PATTERNS = st.sampled_from(
    ["5..", "a|b", "a*", ".+", "", "(a|5).*", "[^a]*", "\\\\.", "a.b", "(?i)A5", "a{1,2}", "[ab\\n]+", "é?"]
)


def truth(operator: str, expected: str, value: str) -> bool:
    """Prometheus' rules once more: whole values, a dot that is also a newline, one outcome and its contrary."""
    if operator in ("=", "!="):
        return (value == expected) is (operator == "=")
    return (re.compile(expected, re.DOTALL).fullmatch(value) is not None) is (operator == "=~")


@st.composite
def matchers(draw: st.DrawFn) -> Matcher:
    operator = draw(st.sampled_from(Operator))
    value = draw(TEXTS if operator in (Operator.EQUAL, Operator.NOT_EQUAL) else PATTERNS)
    return Matcher(draw(st.sampled_from(["status", "path", "http.status"])), operator, value)


@given(
    st.lists(matchers(), max_size=4),
    st.dictionaries(st.sampled_from(["status", "path", "http.status", "other"]), TEXTS, max_size=4),
    st.sampled_from(["orders_total", "http.requests"]),
)
def test_a_selector_selects_what_prometheus_rules_say(
    chosen: list[Matcher], labels: dict[str, str], metric: str
) -> None:
    expected = all(truth(one.operator, one.value, labels.get(one.label, "")) for one in chosen)

    selector = Selector.parse(Selector(metric, tuple(chosen)).promql)

    assert selector == Selector(metric, tuple(chosen))
    assert selector.selects({"__name__": metric, **labels}) is expected
    assert not selector.selects({"__name__": "another", **labels})


@given(st.text(max_size=60) | st.text(st.sampled_from("ab{}()[]=~!,'\"@ 5m\\"), max_size=20))
def test_any_text_is_a_selector_or_refused(text: str) -> None:
    try:
        selector = Selector.parse(text)
    except ValueError:
        return
    assert Selector.parse(selector.promql) == selector
