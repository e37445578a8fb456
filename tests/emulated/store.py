"""The objects of one emulated cluster: versions, generations, preconditions, owners, labels."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

from tests.emulated.admission import admit
from tests.emulated.kinds import titled
from tests.emulated.managers import after_apply, after_update
from tests.emulated.patches import APPLY, patched
from tests.emulated.refusals import RefusedError, conflict, invalid, not_found

Document = dict[str, Any]
Key = tuple[str, str, str]
"""Plural, namespace, name."""
CUSTOM = frozenset({"virtualservices", "destinationrules", "gateways", "httproutes"})


class Store:
    """All objects, and one counter of versions for them all."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.objects: dict[Key, Document] = {}
        self.history: list[tuple[int, str, Key, Document]] = []
        """Every change: version, kind of event, object, and what it was then; for those who watch."""
        self.forgotten = 1000
        """Versions up to this one can no longer be watched from."""
        self.on_change: Callable[[Key, Document], None] = lambda key, document: None
        self._version = self.forgotten

    def get(self, plural: str, namespace: str, name: str) -> Document:
        try:
            return deepcopy(self.objects[plural, namespace, name])
        except KeyError:
            raise not_found(plural, name) from None

    def list(self, plural: str, namespace: str, selector: str = "") -> tuple[list[Document], str]:
        with self.lock:
            found = [one for (kind, where, _), one in self.objects.items() if (kind, where) == (plural, namespace)]
            return [deepcopy(one) for one in found if selected(one, selector)], str(self._version)

    def create(self, plural: str, namespace: str, document: Document, manager: str) -> Document:
        with self.lock:
            metadata = document.setdefault("metadata", {})
            if not metadata.get("name") and metadata.get("generateName"):
                metadata["name"] = metadata["generateName"] + uuid.uuid4().hex[:5]
            key = (plural, namespace, metadata["name"])
            if key in self.objects:
                raise RefusedError(409, "AlreadyExists", f'{titled(plural)} "{key[2]}" already exists')
            made = deepcopy(document)
            made["metadata"] |= {"namespace": namespace, "uid": str(uuid.uuid4()), "creationTimestamp": now()}
            if plural in CUSTOM or plural == "deployments":
                made["metadata"]["generation"] = 1
            made["metadata"]["managedFields"] = after_update({}, made, manager, now())
            return self._keep(key, made, "ADDED")

    def patch(
        self, plural: str, namespace: str, name: str, patch: Any, *, content: str, manager: str, force: bool = False
    ) -> Document:
        with self.lock:
            before = self.get(plural, namespace, name)
            after = patched(before, patch, content, plural=plural, is_custom=plural in CUSTOM)
            if content != APPLY and after == before:
                return before  # a write that changes nothing makes no new version
            if content == APPLY:
                books = after_apply(before, patch, manager, now(), force=force)
            else:
                books = after_update(before, after, manager, now())
            after["metadata"]["managedFields"] = books
            return self.replace((plural, namespace, name), before, after)

    def replace(self, key: Key, before: Document, after: Document) -> Document:
        """Put an object in the place of the one that was read before; only a changed spec is a new generation."""
        with self.lock:
            version = after["metadata"].get("resourceVersion")
            if version is None and key[0] in CUSTOM:
                raise invalid("metadata.resourceVersion: Invalid value: 0: must be specified for an update")
            if version != self.objects[key]["metadata"]["resourceVersion"]:
                raise conflict(key[0], key[2])
            if "generation" in after["metadata"] and before.get("spec") != after.get("spec"):
                after["metadata"]["generation"] = before["metadata"]["generation"] + 1
            return self._keep(key, after, "MODIFIED")

    def delete(self, plural: str, namespace: str, name: str) -> Document:
        with self.lock:
            gone = self.get(plural, namespace, name)
            del self.objects[plural, namespace, name]
            self._version += 1
            self.history.append((self._version, "DELETED", (plural, namespace, name), gone))
            return gone

    def forget(self) -> None:
        """Let every watch from a version of before now be answered with 410, as after a compaction."""
        self.forgotten, self.history = self._version, []

    def _keep(self, key: Key, document: Document, event: str) -> Document:
        admit(key[0], document)
        self._version += 1
        document["metadata"]["resourceVersion"] = str(self._version)
        self.objects[key] = document
        self.history.append((self._version, event, key, deepcopy(document)))
        self.on_change(key, document)
        return deepcopy(document)


def selected(document: Document, selector: str) -> bool:
    labels = document["metadata"].get("labels") or {}
    pairs = [part.split("=", 1) for part in selector.split(",") if part]
    return all(labels.get(key) == value for key, value in pairs)


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
