"""What the forms are filled with at first, and what a person is told where they cannot be deployed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from backends.local.children import start_child
from flows.server import prefect_services
from flows.server.deploy_defaults import defaults
from flows.server.prefect_server import PrefectServer
from flows.server.prefect_services import DEPLOYMENTS, prefect_parts
from loadtest.profile import LoadProfile
from rollout.errors import PlanError, SetupError
from rollout.plan import RolloutPlan
from wiring.composition import gateway_of
from wiring.drill_run import drill_load
from wiring.files import read_live_plan
from wiring.load_test import target_of
from wiring.target import Target

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def in_the_projects_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_the_forms_hold_what_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("PLAN", "demo.yaml"), ("BACKEND", "cluster"), ("NAMESPACE", "shop")):
        monkeypatch.setenv(f"CANARY_{name}", value)

    found = defaults()

    assert found["plan"]["scrape"] == yaml.safe_load((ROOT / "demo.yaml").read_text())["scrape"]
    assert found["plan_file"] == str(ROOT / "demo.yaml")
    assert (found["target"]["backend"], found["target"]["namespace"]) == ("cluster", "shop")
    assert found["folder"] == str(ROOT)


def test_load_from_a_form_goes_to_the_gateway_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("GATEWAY", "http://gateway.mesh:8080"), ("BACKEND", "cluster")):
        monkeypatch.setenv(f"CANARY_{name}", value)

    found = defaults()

    plan, target = RolloutPlan.model_validate(found["plan"]), Target.model_validate(found["target"])
    assert target_of(LoadProfile.model_validate(found["profile"])) == "http://gateway.mesh:8080"
    assert drill_load(plan.load, gateway_of(target), 50, "mark").host == "http://gateway.mesh:8080"
    assert plan == read_live_plan(ROOT / "rollout.yaml")  # `canary run` and the form take each other's rollouts over


def test_load_that_says_where_it_goes_is_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    profile = tmp_path / "loadtest.yaml"
    profile.write_text("url: http://127.0.0.1:8080/\nrate: 5\n")
    for name, value in (("GATEWAY", "http://gateway.mesh"), ("LOADTEST", str(profile))):
        monkeypatch.setenv(f"CANARY_{name}", value)

    found = defaults()["profile"]

    assert (found["url"], found["allow"]) == ("http://127.0.0.1:8080/", [])


def test_a_plan_that_is_wrong_is_not_deployed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plan = tmp_path / "rollout.yaml"
    plan.write_text((ROOT / "demo.yaml").read_text().replace("alpha:", "alfa:"))
    monkeypatch.setenv("CANARY_PLAN", str(plan))

    with pytest.raises(PlanError, match="alfa: unknown key"):
        defaults()


def test_what_a_deployment_is_filled_with_is_what_the_defaults_name() -> None:
    shipped = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    names = {one["name"] for one in shipped}

    told = {value for one in shipped for value in one["parameters"].values() if str(value).startswith("{{")}
    assert told == {f"{{{{ here.{name} }}}}" for name in set(defaults()) - {"folder"}}
    assert names == {*DEPLOYMENTS, *(f"{name}-job" for name in DEPLOYMENTS)}


def test_without_a_prefect_yaml_nothing_is_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SetupError, match=r"prefect\.yaml: there is none in this folder"):
        prefect_parts(tmp_path / "demo", ROOT / "demo.yaml", port=0).__enter__()
    assert list(tmp_path.iterdir()) == []


def test_workers_that_end_at_once_are_told_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(prefect_services, "_has_pool", lambda *_: False)
    worker = start_child("worker", [sys.executable, "-c", ""], log=tmp_path / "worker.log")
    worker.process.wait()

    with pytest.raises(SetupError, match=r"did not start; see worker\.log and orders\.log"):
        prefect_services._wait_pools(PrefectServer(tmp_path), [worker])
