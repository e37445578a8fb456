"""Where a command goes: what is typed wins over the environment, and the environment over what is usual."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import pytest
import typer
import yaml
from pydantic import Field
from typer.testing import CliRunner, Result

from backends.cluster.cluster_target import ClusterField, ClusterTarget, Taker
from backends.prometheus.address import Address
from cli.options import takes_target
from rollout.errors import PlanError
from wiring.composition import open_cluster, who_runs
from wiring.target import Backend, Target, named_target

LOCAL: Backend = "local"
CLUSTER: Backend = "cluster"


@pytest.mark.parametrize(
    ("environment", "backend", "state", "namespace", "goes_to"),
    [
        ({}, None, None, "", LOCAL),
        ({}, None, None, "shop", CLUSTER),
        ({"KUBECONFIG": "config"}, None, None, "", CLUSTER),
        ({"KUBECONFIG": "config"}, None, Path("demo"), "", LOCAL),
        ({"KUBECONFIG": "config"}, LOCAL, None, "", LOCAL),
        ({"CANARY_BACKEND": "cluster"}, None, None, "", CLUSTER),
        ({"CANARY_BACKEND": "cluster"}, None, Path("demo"), "", LOCAL),
        ({"CANARY_BACKEND": "local", "KUBECONFIG": "config"}, None, None, "", LOCAL),
        ({}, CLUSTER, Path("demo"), "", CLUSTER),
    ],
)
def test_a_command_goes_where_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    backend: Backend | None,
    state: Path | None,
    namespace: str,
    goes_to: Backend,
) -> None:
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "CANARY_BACKEND"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert named_target(backend, state, namespace=namespace).backend == goes_to


@pytest.mark.parametrize(
    ("variable", "typed", "kind"),
    [("", "", "VirtualService"), ("HTTPRoute", "", "HTTPRoute"), ("HTTPRoute", "VirtualService", "VirtualService")],
)
def test_what_holds_the_split_is_as_typed_else_as_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, variable: str, typed: str, kind: str
) -> None:
    monkeypatch.setenv("CANARY_KIND", variable)

    assert named_target(CLUSTER, None, kind=typed).kind == kind


@pytest.mark.parametrize(
    ("backend", "state", "said"),
    [(LOCAL, None, "--backend local"), (None, Path("demo"), "--state"), (None, None, "CANARY_BACKEND=local")],
)
def test_a_clusters_option_is_refused_where_this_machine_is_named(
    monkeypatch: pytest.MonkeyPatch, backend: Backend | None, state: Path | None, said: str
) -> None:
    monkeypatch.setenv("CANARY_BACKEND", "local")

    with pytest.raises(PlanError) as refused:
        named_target(backend, state, namespace="shop")

    assert str(refused.value) == f"--namespace: got 'shop' with {said}, allowed: with --backend cluster only"


def test_a_user_without_a_name_as_in_a_container_is_on_record_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless(_: int) -> str:
        raise KeyError("getpwuid(): uid not found: 10001")

    monkeypatch.setattr("pwd.getpwuid", nameless)

    assert who_runs().startswith(f"uid-{os.getuid()}@")


def test_a_user_is_known_by_number_and_not_by_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    before = who_runs()
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "ada")

    assert who_runs() == before


class Zoned(Target):
    """A target with fields that no other module knows."""

    zone: Annotated[str, ClusterField()] = Field(default="eu", description="Zone of the service.")
    depth: Annotated[int, ClusterField(Taker.RELEASE)] = Field(default=1, description="How deep it is.")
    speed: Annotated[Literal["slow", "fast"], ClusterField()] = Field(default="slow", description="How fast it is.")


def zoned(taker: Taker, *words: str) -> tuple[Result, list[Target]]:
    """Return what a command does with the options of such a target, and the targets that it got."""
    targets: list[Target] = []

    @takes_target(taker, Zoned)
    def show(target: Target, plan: Path = Path("rollout.yaml")) -> None:
        targets.append(target)

    app = typer.Typer()
    app.command()(show)
    return CliRunner().invoke(app, [*words], env={"COLUMNS": "200"}), targets


def test_a_new_field_of_the_target_is_an_option_with_its_help_its_panel_and_its_choices() -> None:
    help_text = zoned(Taker.SIGNAL, "--help")[0].output

    general, cluster = help_text.split("Cluster")
    assert "--backend" in general
    assert "--zone" not in general
    assert "Zone of the service." in cluster
    assert "slow|fast" in cluster
    assert "--depth" not in cluster


def test_a_new_field_of_the_target_reaches_the_command_with_what_was_typed() -> None:
    words = ["--backend", "cluster", "--zone", "us", "--speed", "fast", "--depth", "3"]

    result, targets = zoned(Taker.RELEASE, *words)

    assert result.exit_code == 0
    assert [(target.zone, target.speed, target.depth) for target in targets if isinstance(target, Zoned)] == [
        ("us", "fast", 3)
    ]
    assert zoned(Taker.RELEASE, "--speed", "medium")[0].exit_code == 2


def test_a_new_field_of_the_target_is_in_the_form_and_said_to_count_on_a_cluster_alone() -> None:
    properties = Zoned.model_json_schema()["properties"]

    assert properties["zone"]["description"] == "Cluster: zone of the service."
    assert list(properties)[:3] == ["backend", "state", "namespace"]


def test_every_field_of_a_cluster_reaches_its_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CANARY_PROMETHEUS", raising=False)
    cluster = {"server": "http://127.0.0.1:9"}
    names = {"name": "here", "context": {"cluster": "here", "user": "me"}}
    kubeconfig = {"clusters": [{"name": "here", "cluster": cluster}], "users": [{"name": "me", "user": {}}]}
    file = tmp_path / "config"
    file.write_text(yaml.safe_dump(kubeconfig | {"contexts": [names], "current-context": "here"}))
    fields: dict[str, object] = {
        "namespace": "shop",
        "context": "here",
        "kubeconfig": file,
        "prometheus": Address("http://prometheus:9090"),
        "image": "shop:v2",
        "container": "app",
        "kind": "HTTPRoute",
        "document": "split",
        "route": "0",
        "files": tmp_path,
    }
    assert set(fields) == set(ClusterTarget.model_fields)

    settings = open_cluster(Target.model_validate({"backend": "cluster"} | fields), None).settings

    assert {name: getattr(settings, name) for name in fields} == fields
