"""Fields of Kubernetes documents that an API server may leave out, or give as null. Pure.

A server leaves out what is empty (`omitempty`), Istio's clients leave out a weight of 0, and lists without that rule
come as null: `"items": null`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Document = dict[str, Any]
MANAGED_BY: Final = {"app.kubernetes.io/managed-by": "canary-pipeline"}
"""The label of every object that the pipeline creates."""


def mapping(document: Mapping[str, Any], *path: str) -> Document:
    """Return a mapping inside a document; empty where it, or any part of the way to it, is left out.

    >>> mapping({"metadata": {"labels": None}}, "metadata", "labels")
    {}
    """
    node: Mapping[str, Any] = document
    for part in path:
        node = node.get(part) or {}
    return dict(node)


def entries(document: Mapping[str, Any], *path: str) -> list[Document]:
    """Return a list of mappings inside a document; empty where it, or any part of the way to it, is left out.

    >>> entries({"status": None}, "status", "conditions")
    []
    """
    *way, last = path
    return [entry or {} for entry in mapping(document, *way).get(last) or []]


def label(document: Mapping[str, Any], name: str) -> str:
    """Return a label of an object; empty where it has none of this name."""
    return str(mapping(document, "metadata", "labels").get(name) or "")


def annotation(document: Mapping[str, Any], name: str) -> str:
    """Return an annotation of an object; empty where it has none of this name."""
    return str(mapping(document, "metadata", "annotations").get(name) or "")
