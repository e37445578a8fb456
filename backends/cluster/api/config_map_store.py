"""Texts in one ConfigMap: compressed, written with a precondition, read again when somebody else was faster."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from backends.cluster.api.api_errors import MissingError
from backends.cluster.api.client import CONFIG_MAPS, Api
from backends.cluster.api.conflicts import retry_on_conflict
from backends.document_fields import mapping
from rollout.errors import ConflictError

SERVICE_LABEL: Final = "canary-pipeline/service"

_LEVEL: Final = 3
"""A tenth larger than the default level's, in a quarter of the time: an append stands before a rollback's write."""

Texts = Mapping[str, str]
Change = Callable[[Texts], dict[str, str]]
"""From the texts as they are to those that shall be other."""


@dataclass(frozen=True, slots=True)
class _Copy:
    """What a ConfigMap held at a version; None where there is none yet."""

    version: str | None
    texts: Texts


class ConfigMapStore:
    """The texts of one ConfigMap, by key. It remembers what it read, so that a write is one request.

    Threads may share it: version and texts are remembered as one, and a copy that is too old only costs a conflict.
    """

    def __init__(self, api: Api, name: str, labels: Mapping[str, str]) -> None:
        self._api = api
        self._name = name
        self._labels = dict(labels)
        self._copy: _Copy | None = None

    def read(self) -> Texts:
        """Return all texts as they are now; none where nothing was written yet."""
        return self._read().texts

    def write(self, change: Change) -> None:
        """Write what `change` makes of the texts as they are; it is called again when they have become others.

        Raises
        ------
        ConflictError
            When others were faster again and again.
        """
        retry_on_conflict(lambda: self._attempt(change))

    def _attempt(self, change: Change) -> None:
        copy = self._copy or self._read()
        changed = {key: text for key, text in change(copy.texts).items() if copy.texts.get(key) != text}
        try:
            if changed:
                self._copy = _Copy(self._put(copy.version, changed), {**copy.texts, **changed})
        except (ConflictError, MissingError) as error:
            self._copy = None
            raise ConflictError(str(error)) from error

    def _put(self, version: str | None, changed: dict[str, str]) -> str:
        data = {key: compressed(text) for key, text in changed.items()}
        if version is None:
            metadata: dict[str, Any] = {"name": self._name, "labels": self._labels}
            document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "binaryData": data}
            written = self._api.create(CONFIG_MAPS, document)
        else:
            patch = {"metadata": {"resourceVersion": version}, "binaryData": data}
            written = self._api.patch(CONFIG_MAPS, self._name, patch)
        return str(written["metadata"]["resourceVersion"])

    def _read(self) -> _Copy:
        try:
            document = self._api.get(CONFIG_MAPS, self._name)
        except MissingError:
            copy = _Copy(None, {})
        else:
            texts = {key: decompressed(text) for key, text in mapping(document, "binaryData").items()}
            copy = _Copy(document["metadata"]["resourceVersion"], texts)
        self._copy = copy
        return copy


def compressed(text: str) -> str:
    """Return a text compressed, as `binaryData` holds it."""
    return base64.b64encode(zlib.compress(text.encode(), _LEVEL)).decode()


def decompressed(data: str) -> str:
    """Return the text that `compressed` made this of."""
    return zlib.decompress(base64.b64decode(data)).decode()
