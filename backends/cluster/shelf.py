"""Texts in one ConfigMap: compressed, written with a precondition, read again when somebody else was faster."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final

from backends.cluster.client import CONFIG_MAPS, Api
from backends.cluster.conflicts import settled
from backends.cluster.errors import MissingError
from backends.documents import Document
from rollout.errors import ConflictError

OURS: Final = {"app.kubernetes.io/managed-by": "canary-pipeline"}
SERVICE_LABEL: Final = "canary-pipeline/service"

_LEVEL: Final = 3
"""A tenth larger than the default level's, in a quarter of the time: an append stands before a rollback's write."""

Texts = Mapping[str, str]
Change = Callable[[Texts], dict[str, str]]
"""From the texts as they are to those that shall be other."""


class Shelf:
    """The texts of one ConfigMap, by key. It remembers what it read, so that a write is one request."""

    def __init__(self, api: Api, name: str, labels: Mapping[str, str]) -> None:
        self._api = api
        self._name = name
        self._labels = dict(labels)
        self._version: str | None = None
        """The resourceVersion that `_texts` are of; None where they have to be read first."""
        self._texts: dict[str, str] = {}

    def read(self) -> Texts:
        """Return all texts as they are now; none where nothing was written yet."""
        try:
            self._remember(self._api.get(CONFIG_MAPS, self._name))
        except MissingError:
            self._version, self._texts = None, {}
        return self._texts

    def write(self, change: Change) -> None:
        """Write what `change` makes of the texts as they are; it is called again when they have become others.

        Raises
        ------
        ConflictError
            When others were faster again and again.
        """
        settled(lambda: self._attempt(change))

    def _attempt(self, change: Change) -> None:
        if self._version is None:
            self.read()
        changed = {key: text for key, text in change(self._texts).items() if self._texts.get(key) != text}
        try:
            if changed:
                self._put(changed)
        except (ConflictError, MissingError) as error:
            self._version = None
            raise ConflictError(str(error)) from error

    def _put(self, changed: dict[str, str]) -> None:
        data = {key: packed(text) for key, text in changed.items()}
        if self._version is None:
            metadata: dict[str, Any] = {"name": self._name, "labels": self._labels}
            document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "binaryData": data}
            written = self._api.create(CONFIG_MAPS, document)
        else:
            patch = {"metadata": {"resourceVersion": self._version}, "binaryData": data}
            written = self._api.patch(CONFIG_MAPS, self._name, patch)
        self._version = written["metadata"]["resourceVersion"]
        self._texts |= changed

    def _remember(self, document: Document) -> None:
        self._version = document["metadata"]["resourceVersion"]
        self._texts = {key: unpacked(text) for key, text in (document.get("binaryData") or {}).items()}


def packed(text: str) -> str:
    """Return a text compressed, as `binaryData` holds it."""
    return base64.b64encode(zlib.compress(text.encode(), _LEVEL)).decode()


def unpacked(data: str) -> str:
    """Return the text that `packed` made this of."""
    return zlib.decompress(base64.b64decode(data)).decode()
