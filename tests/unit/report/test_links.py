from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

from report.rollout.links import grafana_link, kiali_link, links_of
from report.rollout.page import render
from tests.unit.report.records import rolled_back

NOON = datetime(2026, 3, 12, 12, tzinfo=UTC)


def test_grafana_shows_the_service_from_before_the_rollout_until_after_it() -> None:
    link = urlsplit(grafana_link("http://grafana:3000/", "shop & co", NOON, NOON))

    assert link.path == "/d/canary-rollout"
    asked = {key: value for key, [value] in parse_qs(link.query).items()}
    noon = 1000 * NOON.timestamp()
    assert asked == {"var-service": "shop & co", "from": f"{noon - 300_000:.0f}", "to": f"{noon + 300_000:.0f}"}


def test_a_rollout_under_way_is_shown_until_now() -> None:
    assert grafana_link("http://grafana", "shop", NOON).endswith("&to=now")


def test_kiali_draws_the_services_versions() -> None:
    link = urlsplit(kiali_link("http://kiali/kiali", "shop", "canary-app"))

    assert link.path == "/kiali/console/graph/node/namespaces/canary-app/applications/shop"
    assert parse_qs(link.query)["graphType"] == ["versionedApp"]


def test_what_has_no_address_has_no_link() -> None:
    assert links_of(rolled_back()) == {}
    assert grafana_link("", "shop") == kiali_link("", "shop", "n") == kiali_link("http://kiali", "shop", "") == ""


def test_the_report_shows_the_links_it_is_given() -> None:
    record = rolled_back()
    page = render(record, links_of(record, grafana="http://grafana"))

    assert 'href="http://grafana/d/canary-rollout?var-service=canary-app&amp;from=' in page
    assert "http://grafana" not in render(record)
