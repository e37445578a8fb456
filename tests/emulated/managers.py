"""Who owns which field: managedFields, as the server keeps them. Lists are atomic, as those of Istio's kinds are."""

from __future__ import annotations

from typing import Any

from tests.emulated.refusals import RefusedError

Path = tuple[str, ...]
_UNOWNED = ("resourceVersion", "uid", "generation", "creationTimestamp", "managedFields", "name", "namespace")


def leaves(document: Any, path: Path = ()) -> dict[Path, Any]:
    """Return every field of a document with its value; a list is one field."""
    if not isinstance(document, dict) or not document:
        return {path: document}
    found: dict[Path, Any] = {}
    for key, value in document.items():
        if (path == () and key in ("apiVersion", "kind", "status")) or (path == ("metadata",) and key in _UNOWNED):
            continue
        found |= leaves(value, (*path, key))
    return found


def _fields(paths: set[Path]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for path in paths:
        inner = fields
        for part in path:
            inner = inner.setdefault(f"f:{part}", {})
    return fields


def _paths(fields: dict[str, Any], path: Path = ()) -> set[Path]:
    if not fields:
        return {path}
    return {found for key, inner in fields.items() for found in _paths(inner, (*path, key.removeprefix("f:")))}


def after_update(before: dict[str, Any], after: dict[str, Any], manager: str, now: str) -> list[dict[str, Any]]:
    """Return the books after a write that asks nobody: what changed belongs to the writer alone."""
    old, new = leaves(before), leaves(after)
    changed = {path for path in new if old.get(path, ...) != new[path]}
    return _booked(before, changed, set(new), (manager, "Update"), now)


def after_apply(
    before: dict[str, Any], applied: dict[str, Any], manager: str, now: str, *, force: bool
) -> list[dict[str, Any]]:
    """Return the books after a server-side apply, or refuse where others own what it would change."""
    old, wanted = leaves(before), leaves(applied)
    disputes = [
        (entry["manager"], path)
        for entry in before.get("metadata", {}).get("managedFields", [])
        for path in sorted(_paths(entry["fieldsV1"]) & set(wanted))
        if (entry["manager"], entry["operation"]) != (manager, "Apply") and old.get(path, ...) != wanted[path]
    ]
    if disputes and not force:
        owner, path = disputes[0]
        said = f'conflict with "{owner}": .{".".join(path)}'
        raise RefusedError(409, "Conflict", f"Apply failed with {len(disputes)} conflict: {said}")
    return _booked(before, set(wanted), set(old) | set(wanted), (manager, "Apply"), now)


def _booked(
    before: dict[str, Any], taken: set[Path], there: set[Path], writer: tuple[str, str], now: str
) -> list[dict[str, Any]]:
    books = {
        (entry["manager"], entry["operation"]): (_paths(entry["fieldsV1"]) & there - taken, entry["time"])
        for entry in before.get("metadata", {}).get("managedFields", [])
    }
    if taken:
        books[writer] = (books.get(writer, (set(), now))[0] | taken, now)
    return [
        {"manager": name, "operation": operation, "time": time, "fieldsType": "FieldsV1", "fieldsV1": _fields(paths)}
        for (name, operation), (paths, time) in books.items()
        if paths
    ]
