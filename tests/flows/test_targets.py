"""Where a command goes: what is typed wins over the environment, and the environment over what is usual."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rollout.errors import PlanError
from wiring.composition import who_runs
from wiring.target import Backend, named_target

LOCAL, CLUSTER = Backend.LOCAL, Backend.CLUSTER


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
