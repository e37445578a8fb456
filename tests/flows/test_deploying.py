"""What the forms are filled with at first, and what a person is told where they cannot be deployed."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from flows.server.deploying import defaults
from flows.server.parts import DEPLOYMENTS, prefect_parts
from rollout.errors import PlanError, SetupError

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
