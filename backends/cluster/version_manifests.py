"""The manifests that name the tracks' versions: read and rewritten as text, comments and all. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import yaml

from rollout.errors import PlanError

VERSION_MANIFESTS: Final = {"VirtualService": "destination-rule.yaml", "HTTPRoute": "services.yaml"}
"""The file that names the tracks' versions, in the folder of resting routes, by what holds the split."""
_VERSION: Final = ("spec", "selector", "version")

Path = tuple[str | int, ...]


def manifest_versions(text: str, names: Sequence[str], *, of: str = "") -> dict[str, str]:
    """Return the version that each subset, or Service, of these names selects in such a file.

    Parameters
    ----------
    text
        A DestinationRule with subsets, or Services, as YAML.
    names
        Subsets or Services; one that is not in the text is left out.
    of
        Name of the DestinationRule; any unless given.
    """
    documents = [
        document
        for document in _documents(text)
        if not (of and _is_rule(document) and document["metadata"]["name"] != of)
    ]
    versions = {
        name: _value(documents[location[0]], location[1]) for name in names if (location := _locate(documents, name))
    }
    return {name: str(version) for name, version in versions.items()}


def with_manifest_versions(text: str, versions: Mapping[str, str]) -> str:
    """Return the text with other versions selected by these subsets or Services, and nothing else changed.

    Raises
    ------
    PlanError
        When one of them is not in the text.
    """
    for name, version in versions.items():
        if (location := _locate(_documents(text), name)) is None:
            raise PlanError(f"no subset or Service {name} there, allowed: a file that names it")
        text = with_scalar(text, location[1], version, document=location[0])
    return text


def with_scalar(text: str, path: Path, value: str, *, document: int = 0) -> str:
    """Return YAML text with one scalar replaced, and every other byte unchanged.

    Parameters
    ----------
    text
        One document or several.
    path
        Keys and indices from the document's root to the scalar, which is there.
    value
        What to write; a plain scalar.
    document
        Which of the documents.
    """
    node: Any = list(yaml.compose_all(text, Loader=yaml.SafeLoader))[document]
    for part in path:
        node = node.value[part] if isinstance(part, int) else _member(node, part)
    return f"{text[: node.start_mark.index]}{value}{text[node.end_mark.index :]}"


def next_version(version: str) -> str:
    """Return the version that comes after one by its last number.

    >>> next_version("v2"), next_version("1.4.9"), next_version("v2-rc1")
    ('v3', '1.4.10', 'v2-rc2')

    Raises
    ------
    PlanError
        When it has no number.
    """
    numbers = list(re.finditer(r"\d+", version))
    if not numbers:
        raise PlanError(f"--next: missing, {version!r} does not say what comes after it; name the next version")
    last = numbers[-1]
    return f"{version[: last.start()]}{int(last[0]) + 1}{version[last.end() :]}"


def _documents(text: str) -> list[Any]:
    try:
        return list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        raise PlanError(f"not YAML: {' '.join(str(error).split())}") from error


def _is_rule(document: Any) -> bool:
    return isinstance(document, dict) and document.get("kind") == "DestinationRule"


def _locate(documents: Sequence[Any], name: str) -> tuple[int, Path] | None:
    for number, document in enumerate(documents):
        if not isinstance(document, dict):
            continue
        if document.get("kind") == "Service" and document["metadata"]["name"] == name:
            return number, _VERSION
        for index, subset in enumerate((document.get("spec") or {}).get("subsets") or []):
            if subset.get("name") == name:
                return number, ("spec", "subsets", index, "labels", "version")
    return None


def _value(node: Any, path: Path) -> Any:
    for part in path:
        node = node[part]
    return node


def _member(node: Any, key: str) -> Any:
    return next(value for name, value in node.value if name.value == key)
