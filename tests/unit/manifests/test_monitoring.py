"""The shipped dashboard and rules: whole, and accepted by Prometheus' own tool. Their series: tests/e2e."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from conductor.commands import exporter
from report.rollout.links import DASHBOARD
from tests.unit.manifests.kustomized import MANIFESTS, ROOT, built, containers, named
from tests.unit.manifests.monitored import MONITORING, RULES, dashboard, dashboard_queries, rules, selectors
from wiring.metrics_endpoint import Looks

PROMTOOL = shutil.which("promtool") or str(ROOT / ".tools" / "promtool")


@pytest.mark.parametrize("words", [("check", RULES), ("test", Path(__file__).with_name("rules_test.yaml"))])
def test_promtool_accepts_the_rules_and_their_tests(words: tuple[str, Path]) -> None:
    done = subprocess.run([PROMTOOL, words[0], "rules", words[1]], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    for rule in rules():
        if "alert" in rule:
            assert rule["labels"]["severity"] in {"info", "warning", "critical"}
            assert {"summary", "description"} == set(rule["annotations"])


def test_the_dashboard_is_whole() -> None:
    board = dashboard()
    panels = board["panels"]

    assert board["uid"] == DASHBOARD
    assert [one["name"] for one in board["templating"]["list"]] == ["datasource", "service"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["title"]
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
    assert not re.search(r"\$(?!service|__rate_interval|\{datasource\})", " ".join(q for _, q in dashboard_queries()))


def test_a_panel_reads_the_services_that_the_judge_reads_and_no_other_of_a_like_name() -> None:
    read = {found for _, query in dashboard_queries() for found in re.findall(r'service_name=~"(.+?)"', query)}

    [pattern] = read
    matched = {name for name in ("", "-stable", "-canary", "-api", "-v2") if re.fullmatch(pattern, f"canary-app{name}")}
    assert matched == {"", "-stable", "-canary"}


def test_what_counts_as_an_error_is_what_the_judge_counts() -> None:
    asked = [query for _, query in dashboard_queries()] + [rule["expr"] for rule in rules()]

    assert set(re.findall(r'response_code=~"(.+?)"', " ".join(asked))) == {"5.."}  # 0: the client hung up


def test_no_panel_covers_another() -> None:
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in dashboard()["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]

    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_every_series_of_ours_that_is_asked_for_is_one_that_we_export() -> None:
    source = Path(exporter.__file__).read_text() + (ROOT / "wiring" / "metrics_endpoint.py").read_text()
    exported = set(re.findall(r'"(canary_\w+)"', source))
    exported |= {sample.name for family in Looks().collect() for sample in family.samples}
    asked = {word for _, query in dashboard_queries() for word in re.findall(r"\bcanary_\w+", query)}
    asked |= {selector.partition("{")[0] for selector in selectors() if selector.startswith("canary_")}

    assert asked <= exported


def test_prometheus_finds_the_guards_metrics_by_the_name_of_their_port() -> None:
    [job] = yaml.safe_load((MONITORING / "scrape-config.yaml").read_text())["scrape_configs"]
    [guard] = containers(named(built(MANIFESTS), "Deployment", "canary-guard"))
    [port] = guard["ports"]

    assert port["name"] == job["relabel_configs"][0]["regex"]
    assert str(port["containerPort"]) == guard["command"][-1]


def test_what_is_applied_apart_names_files_that_exist() -> None:
    found = yaml.safe_load((MONITORING / "kustomization.yaml").read_text())

    for generated in found["configMapGenerator"]:
        assert all((MONITORING / name).is_file() for name in generated["files"])
