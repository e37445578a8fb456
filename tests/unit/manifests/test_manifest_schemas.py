"""Every shipped document against a schema that knows its fields, and against what kubectl itself makes of it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.unit.manifests.kustomized import BUILDS, ISTIO, built, documents
from tests.unit.manifests.mesh_schema import SCHEMAS

# Each once: the overlays repeat most of them.
SHIPPED = list({yaml.safe_dump(document): document for folder in BUILDS for document in built(folder)}.values())
PHASES = [document for file in sorted(ISTIO.glob("virtual-service*.yaml")) for document in documents(file)]
ROUTES = [document for document in SHIPPED + PHASES if (document["apiVersion"], document["kind"]) in SCHEMAS]
CORE = [document for document in SHIPPED if (document["apiVersion"], document["kind"]) not in SCHEMAS]
OLDEST_AND_NEWEST = ("1.29", "1.37")


def faults_of(document: dict[str, Any]) -> list[str]:
    validator = jsonschema.Draft202012Validator(SCHEMAS[document["apiVersion"], document["kind"]])
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


def test_routes_say_only_what_their_custom_resources_know() -> None:
    assert {document["kind"] for document in ROUTES} == {"VirtualService", "DestinationRule", "Gateway", "HTTPRoute"}
    assert [fault for document in ROUTES for fault in faults_of(document)] == []


def test_a_slip_in_a_route_would_be_noticed() -> None:
    [route] = documents(ISTIO / "virtual-service.yaml")
    route["spec"]["http"][2]["timeOut"] = "15s"
    route["spec"]["http"][2]["route"][0]["weight"] = "100"

    assert len(faults_of(route)) == 2


@pytest.mark.parametrize("version", OLDEST_AND_NEWEST)
def test_everything_else_is_valid_kubernetes_of_the_oldest_and_the_newest_version(version: str) -> None:
    validate = pytest.importorskip("kubernetes_validate").validate

    for document in CORE:
        validate(document, version, strict=True)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl here")
@pytest.mark.parametrize("folder", BUILDS, ids=lambda folder: folder.name)
def test_kubectl_builds_what_the_tests_read(folder: Path) -> None:
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=True)

    assert _sorted(list(yaml.safe_load_all(done.stdout))) == _sorted(built(folder))


def _sorted(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(found, key=lambda one: (one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]))
