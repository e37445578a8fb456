"""What the API server answered, as documents; an answer of another shape is an error of ours. Pure."""

from __future__ import annotations

import json
from typing import Any

from backends.cluster.api.api_errors import ApiRequest
from backends.route_patches import Document
from rollout.errors import UnavailableError


def as_document(body: bytes | None, request: ApiRequest) -> Document:
    """Return an answer's document without its null members: to the server they are the same as ones left out.

    Raises
    ------
    UnavailableError
        When the answer is no JSON object, such as a proxy's page.
    """
    try:
        document = json.loads(body or b"", object_hook=_without_nulls)
    except (ValueError, RecursionError) as error:
        raise _malformed(request, "no JSON") from error
    if not isinstance(document, dict):
        raise _malformed(request, "no JSON object")
    return document


def as_object(document: Document, request: ApiRequest) -> Document:
    """Return an answer that has to be one object of the cluster.

    Raises
    ------
    UnavailableError
        When it has no name or no version.
    """
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or not {"name", "resourceVersion"} <= metadata.keys():
        raise _malformed(request, f"a document of kind {document.get('kind', '(none)')} without name and version")
    return document


def as_items(document: Document, request: ApiRequest) -> list[Document]:
    """Return the objects of a list; an empty one comes as `[]`, as null, or is left out.

    Raises
    ------
    UnavailableError
        When the answer is no list of objects.
    """
    items = document.get("items") or []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise _malformed(request, "no list of objects")
    return [as_object(item, request) for item in items]


def _without_nulls(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if value is not None}


def _malformed(request: ApiRequest, what: str) -> UnavailableError:
    return UnavailableError(f"{request}: the answer is {what}; see whether a proxy answers in the API server's place")
