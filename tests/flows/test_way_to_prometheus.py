"""Which Prometheus is sent what lets us in: ours, by the environment, and whatever the command line says."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends.prometheus.address import Address
from backends.prometheus.http_config_settings import AccessSettings
from rollout.errors import PlanError
from wiring.composition import way_to_prometheus
from wiring.settings import Settings
from wiring.target import Target, named_target

OURS = "http://ada:pw@prometheus:9090/prom?partial_response=false"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "access.yaml").write_text("timeout: 2s")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CANARY_PROMETHEUS", OURS)
    monkeypatch.setenv("CANARY_PROMETHEUS_CONFIG", "access.yaml")
    monkeypatch.setenv("CANARY_PROMETHEUS_HEADERS", "X-Scope-OrgID=team-a")


def test_the_environments_address_keeps_its_secrets_on_the_way_to_the_reader() -> None:
    target = named_target("cluster", None)

    address, access = way_to_prometheus(target.prometheus, target.prometheus_config)

    assert address == Address(OURS)
    assert access.headers.get_secret_value() == "X-Scope-OrgID=team-a"
    assert access.config == Path("access.yaml").absolute()


def test_a_target_that_prefect_kept_finds_its_secrets_again_in_the_environment() -> None:
    target = Target.model_validate(named_target("cluster", None).model_dump(mode="json"))
    assert target.prometheus == Address("http://prometheus:9090/prom")

    address, _ = way_to_prometheus(target.prometheus, None)

    assert address == Address(OURS)


@pytest.mark.parametrize("other", ["http://elsewhere:9090", "https://prometheus:9090/prom", "http://prometheus:9091"])
def test_another_server_that_a_form_names_is_not_sent_what_lets_us_in_to_ours(other: str) -> None:
    own_file = Path("access.yaml").absolute()

    for config in (None, own_file):
        assert way_to_prometheus(Address(other), config) == (Address(other), AccessSettings())


def test_a_file_of_the_command_line_counts_for_any_address_and_alone() -> None:
    file = Path("other.yaml").absolute()

    for text in (OURS, "http://elsewhere:9090"):
        assert way_to_prometheus(Address(text), file) == (Address(text), AccessSettings(config=file))


def test_without_an_address_in_the_environment_its_access_is_for_the_one_that_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CANARY_PROMETHEUS")

    _, access = way_to_prometheus(Address("http://elsewhere:9090"), None)

    assert access.headers.get_secret_value() == "X-Scope-OrgID=team-a"


def test_settings_show_no_secret() -> None:
    assert "pw" not in repr(Settings())
    assert "team-a" not in repr(Settings())


def test_an_option_of_the_cluster_is_refused_on_the_embedded_backend_without_its_secrets() -> None:
    with pytest.raises(PlanError, match="--prometheus: got 'http://prometheus:9090/prom' with --backend local"):
        named_target("local", None, prometheus=OURS)
    with pytest.raises(PlanError, match="--prometheus-config: got"):
        named_target("local", None, prometheus_config=Path("access.yaml"))


def test_a_wrong_address_in_the_environment_stops_no_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY_PROMETHEUS", "http://ada:p#w@prometheus")
    monkeypatch.setenv("CANARY_PROMETHEUS_CONFIG", "gone.yaml")

    target = named_target("cluster", None)

    assert str(target.prometheus) == "an address that cannot be read"
    assert way_to_prometheus(target.prometheus, None)[1].config == Path("gone.yaml").absolute()
