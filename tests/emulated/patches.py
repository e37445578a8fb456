"""The kinds of patch that the API server takes, with its refusals."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import jsonpatch
import jsonpointer

from tests.emulated.refusals import RefusedError, conflict, invalid

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"


def patched(document: dict[str, Any], patch: Any, content: str, *, plural: str, is_custom: bool) -> dict[str, Any]:
    """Return the document after a patch of this content type; of an apply, after merging what is applied."""
    if content == JSON_PATCH:
        return _json_patched(document, patch)
    if content not in (MERGE_PATCH, STRATEGIC, APPLY) or (content == STRATEGIC and is_custom):
        raise RefusedError(415, "UnsupportedMediaType", f"the body of the request was in an unknown format: {content}")
    if not isinstance(patch, dict):
        raise RefusedError(400, "BadRequest", "cannot unmarshal array into Go value of type map[string]interface {}")
    wanted = (patch.get("metadata") or {}).get("resourceVersion")
    if wanted is not None and wanted != document["metadata"]["resourceVersion"]:
        raise conflict(plural, document["metadata"]["name"])
    return merged(document, patch)


def merged(document: Any, patch: Any) -> Any:
    """Return RFC 7386's merge: null removes, lists are replaced as a whole."""
    if not isinstance(patch, dict):
        return deepcopy(patch)
    result = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def _json_patched(document: dict[str, Any], patch: Any) -> dict[str, Any]:
    if not isinstance(patch, list):
        raise RefusedError(400, "BadRequest", "cannot unmarshal object into Go value of type jsonpatch.Patch")
    try:
        result: dict[str, Any] = jsonpatch.apply_patch(document, patch)
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException) as error:
        raise invalid(f"the server rejected our request due to an error in our request: {error}") from error
    return result
