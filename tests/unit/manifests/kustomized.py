"""The shipped YAML as documents: the part of kustomize that the kustomizations here use, and no more."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Document = dict[str, Any]

ROOT = Path(__file__).parents[3]
MANIFESTS = ROOT / "manifests"
ISTIO = ROOT / "istio"
OVERLAYS = MANIFESTS / "overlays"
BUILDS = (MANIFESTS, ISTIO, *(OVERLAYS / name for name in ("k3s", "minimal", "gateway-api")))
WORKLOADS = ("Deployment", "StatefulSet", "Job")


def built(folder: Path) -> list[Document]:
    """Return the documents that `kubectl apply -k folder` would apply."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    unknown = set(kustomization) - {"apiVersion", "kind", "resources", "patches"}
    assert not unknown, f"{folder}: {unknown} is not read here"
    documents = [document for name in kustomization["resources"] for document in _resource(folder / name)]
    for patch in kustomization.get("patches", []):
        documents = [_patched(document, patch) for document in documents]
    return documents


def documents(file: Path) -> list[Document]:
    """Return the documents of one file."""
    return [document for document in yaml.safe_load_all(file.read_text()) if document]


def named(found: list[Document], kind: str, name: str) -> Document:
    """Return the one document of this kind and name."""
    [document] = [one for one in found if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return document


def workloads(found: list[Document]) -> list[Document]:
    """Return what makes pods."""
    return [document for document in found if document["kind"] in WORKLOADS]


def containers(workload: Document) -> list[Document]:
    """Return a workload's containers, initial ones too."""
    spec = workload["spec"]["template"]["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]


def variables(container: Document) -> dict[str, str | None]:
    """Return a container's environment; None for what a Secret holds."""
    return {one["name"]: one.get("value") for one in container.get("env", [])}


def pod_labels(workload: Document) -> dict[str, str]:
    """Return the labels of a workload's pods."""
    labels: dict[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return labels


def values_of(value: Any, key: str) -> Iterator[Any]:
    """Yield everything that stands under this key, however deep."""
    match value:
        case dict():
            for name, inner in value.items():
                if name == key:
                    yield inner
                yield from values_of(inner, key)
        case list():
            for inner in value:
                yield from values_of(inner, key)


def _resource(path: Path) -> list[Document]:
    return built(path) if path.is_dir() else documents(path)


def _patched(document: Document, patch: Document) -> Document:
    target = patch["target"]
    if document["kind"] != target["kind"] or not re.fullmatch(target.get("name", ".*"), document["metadata"]["name"]):
        return document
    changed = copy.deepcopy(document)
    for operation in yaml.safe_load(patch["patch"]):
        _operate(changed, operation)
    return changed


def _operate(document: Any, operation: Document) -> None:
    *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
    for part in parents:
        document = document[int(part) if isinstance(document, list) else part]
    key = int(last) if isinstance(document, list) and last != "-" else last
    match operation["op"]:
        case "add" if isinstance(document, list):
            document.insert(len(document) if last == "-" else key, operation["value"])
        case "add" | "replace":
            document[key] = operation["value"]
        case "remove":
            del document[key]
