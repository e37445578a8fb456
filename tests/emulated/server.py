"""A Kubernetes API server on loopback, small, stateful, and as strict as a real one was measured to be."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import deepcopy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from tests.emulated import discovery
from tests.emulated.faults import Fault, Faults
from tests.emulated.kinds import KINDS
from tests.emulated.kubelet import Kubelet
from tests.emulated.lean import Lean, lean
from tests.emulated.rbac import Rules
from tests.emulated.refusals import RefusedError, no_such_kind
from tests.emulated.store import CUSTOM, Store

ADMIN, PIPELINE = "admin", "pipeline"
"""The two users' tokens: one may do everything, one what the Role grants."""
_VERBS = {"GET": "get", "POST": "create", "PATCH": "patch", "PUT": "update", "DELETE": "delete"}
_INJECTED = {
    Fault.CONFLICT: RefusedError(409, "Conflict", "injected: the object has been modified"),
    Fault.INVALID: RefusedError(422, "Invalid", "injected: the server rejected our request"),
    Fault.BUSY: RefusedError(429, "TooManyRequests", "injected: too many requests, please try again later"),
    Fault.ERROR: RefusedError(500, "InternalError", "injected: etcdserver: leader changed"),
}


class EmulatedCluster:
    """An API server with its objects, its pods, its users and its faults; a context manager.

    Parameters
    ----------
    rules
        The rules of the Role that the user `pipeline` has.
    """

    def __init__(self, rules: list[dict[str, Any]]) -> None:
        self.store = Store()
        self.kubelet = Kubelet(self.store)
        self.faults = Faults()
        self.rules = rules
        self.groups = deepcopy(KINDS)
        """The installed API groups; one that is taken out is a CRD that is missing."""
        self.anonymous = ""
        """Whose rights a request without a token has: kubectl sends none without TLS."""
        self.skew = 0.0
        """Seconds that the server's clock is ahead."""
        self.lean = Lean.AS_WRITTEN
        """What its answers leave out."""
        self.instead: dict[str, tuple[int, dict[str, Any] | str, dict[str, str]]] = {}
        """Status, body and headers of another's answer, by a text that the path holds."""
        self.seen_as: Callable[[dict[str, Any]], dict[str, Any]] = lambda document: document
        """What an answer with objects becomes on its way."""
        self.requests: list[tuple[str, str]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"cluster": self}))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> EmulatedCluster:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def kubeconfig(self, folder: Path, user: str = PIPELINE) -> Path:
        """Write a kubeconfig for one of the users, and return its path."""
        file = folder / f"{user}.kubeconfig"
        named = {
            "clusters": [{"name": "emulated", "cluster": {"server": self.url}}],
            "users": [{"name": user, "user": {"token": user}}],
            "contexts": [{"name": user, "context": {"cluster": "emulated", "user": user}}],
        }
        file.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "current-context": user} | named))
        return file

    def reset(self, *documents: dict[str, Any]) -> None:
        """Begin anew with these objects alone."""
        with self.store.lock:
            self.store.objects.clear()
            self.store.forget()
            self.put(*deepcopy(documents))
            self.kubelet.tick()

    def put(self, *documents: dict[str, Any]) -> None:
        """Create objects as an administrator does; kinds that are not emulated are left out."""
        plurals = {kind: plural for kinds in KINDS.values() for plural, kind in kinds.items()}
        for document in documents:
            if plural := plurals.get(document["kind"]):
                self.store.create(plural, document["metadata"]["namespace"], document, "kubectl-client-side-apply")


class _Handler(BaseHTTPRequestHandler):
    cluster: EmulatedCluster
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or a long answer waits 40 ms for an acknowledgement
    wbufsize = -1

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_PATCH = do_PUT = do_DELETE = do_GET  # noqa: N815 - the names that http.server calls

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        self.cluster.requests.append((self.command, self.path))
        fault = self.cluster.faults.next(self.command, self.path)
        if fault is Fault.RESET:
            return self._hang_up()
        if fault is Fault.SLOW:
            time.sleep(0.05)
        if fault is Fault.HANGS:
            time.sleep(1)
            return self._hang_up()
        for path, answer in self.cluster.instead.items():
            if path in self.path:
                return self._send(*answer)
        try:
            if fault in _INJECTED:
                raise _INJECTED[fault]
            code, document = self._answer(body)
        except RefusedError as refusal:
            code, document = refusal.code, refusal.body
        if fault is Fault.LOST:
            return self._hang_up()
        if document is not None:
            whole = self.cluster.seen_as(document) if isinstance(document, dict) else document
            self._send(code, self._asked_for(lean(whole, self.cluster.lean)))
        return None

    def _asked_for(self, document: dict[str, Any] | str) -> dict[str, Any] | str:
        """Return a document, or its metadata alone where that is all the client accepts."""
        if isinstance(document, str) or "as=PartialObjectMetadata" not in self.headers.get("Accept", ""):
            return document
        if "items" in document:
            # An empty list of metadata is null, as a real server sends it; an empty list of objects is [].
            return document | {"items": [{"metadata": one["metadata"]} for one in document["items"] or ()] or None}
        return {"kind": "PartialObjectMetadata", "metadata": document.get("metadata", {})}

    def _hang_up(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _send(self, code: int, document: dict[str, Any] | str, headers: Mapping[str, str] | None = None) -> None:
        is_page = isinstance(document, str)
        data = document.encode() if isinstance(document, str) else json.dumps(document).encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain" if is_page else "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string((timestamp or time.time()) + self.cluster.skew)

    def _answer(self, body: Any) -> tuple[int, dict[str, Any] | str | None]:
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        parts = url.path.strip("/").split("/")
        rules = self._rules()
        if parts == ["version"]:
            return 200, {"major": "1", "minor": "36", "gitVersion": "v1.36.0"}
        if parts[-1] == "selfsubjectaccessreviews":
            namespace = body["spec"]["resourceAttributes"]["namespace"]
            return 201, _reviewed(body, rules and Rules(self._granted(namespace)))
        if len(parts) == 1:
            return 200, discovery.versions(parts[0], self.cluster.groups)
        group, rest = (parts[1], parts[2:]) if parts[0] == "apis" else ("", parts[1:])
        if group not in self.cluster.groups:
            raise no_such_kind()
        if not rest:
            return 200, discovery.group(group)
        if len(rest) == 1:
            return 200, discovery.resources(group, self.cluster.groups[group])
        if rest[1:] == ["nodes"]:
            return 200, {"kind": "NodeList", "items": [{"metadata": {"name": "emulated"}}]}
        if rest[-1] == "namespaces" or len(rest) == 3:
            return 200, {"kind": "Namespace"}
        return self._resource(group, rest[1:], query, body, rules)

    def _rules(self) -> Rules | None:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or self.cluster.anonymous
        if token not in (ADMIN, PIPELINE):
            raise RefusedError(401, "Unauthorized", "Unauthorized")
        _, _, path = self.path.partition("/namespaces/")
        return None if token == ADMIN else Rules(self._granted(path.split("/")[0]))

    def _granted(self, namespace: str) -> list[dict[str, Any]]:
        """Return the rules of the Role in a namespace, or else the cluster's own."""
        role = self.cluster.store.objects.get(("roles", namespace, "canary-pipeline"))
        return list(role["rules"]) if role else self.cluster.rules

    def _resource(
        self, group: str, parts: list[str], query: dict[str, str], body: Any, rules: Rules | None
    ) -> tuple[int, dict[str, Any] | None]:
        _, namespace, plural, name, subresource = (*parts, "", "")[:5]
        if plural not in self.cluster.groups[group]:
            raise no_such_kind()
        verb = _VERBS[self.command]
        if verb == "get" and not name:
            verb = "watch" if query.get("watch") else "list"
        if rules:
            rules.check(group, f"{plural}/{subresource}" if subresource else plural, verb, name, namespace)
        store = self.cluster.store
        self.cluster.kubelet.tick()
        match verb:
            case "get":
                return 200, _shown(store.get(plural, namespace, name), subresource)
            case "list":
                found, version = store.list(plural, namespace, query.get("labelSelector", ""))
                kind = f"{self.cluster.groups[group][plural]}List"
                if plural not in CUSTOM:
                    found = [{key: one[key] for key in one if key not in ("apiVersion", "kind")} for one in found]
                return 200, {"kind": kind, "metadata": {"resourceVersion": version}, "items": found}
            case "watch":
                return 200, self._watch(plural, namespace, int(query.get("resourceVersion", "0")))
            case "create" if subresource == "token":
                return 201, body | {"status": {"token": PIPELINE}}
            case "create":
                return 201, store.create(plural, namespace, body, self._manager(query))
            case "patch":
                return 200, _shown(self._patch(plural, namespace, name, query, body), subresource)
            case "delete":
                return 200, store.delete(plural, namespace, name)
            case "update":
                key = (plural, namespace, name)
                return 200, store.replace(key, store.get(*key), body)
        raise no_such_kind()

    def _patch(self, plural: str, namespace: str, name: str, query: dict[str, str], body: Any) -> dict[str, Any]:
        content = self.headers.get("Content-Type", "")
        manager = self._manager(query)
        if content.startswith("application/apply-patch") and "fieldManager" not in query:
            raise RefusedError(422, "Invalid", "PatchOptions.meta.k8s.io is invalid: fieldManager: Required value")
        force = query.get("force") == "true"
        return self.cluster.store.patch(plural, namespace, name, body, content=content, manager=manager, force=force)

    def _manager(self, query: dict[str, str]) -> str:
        return query.get("fieldManager", "OpenAPI-Generator")

    def _watch(self, plural: str, namespace: str, since: int) -> None:
        """Send what happened since a version, and what happens for a short while after; then end the stream."""
        store = self.cluster.store
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        if since < store.forgotten:  # the answer itself is a good one: that it is not is its first event
            expired = RefusedError(410, "Expired", f"too old resource version: {since} ({store.forgotten})")
            self.wfile.write(json.dumps({"type": "ERROR", "object": expired.body}).encode() + b"\n")
            return
        until, sent = time.monotonic() + 1.0, since
        while time.monotonic() < until:
            for version, event, key, document in list(store.history):
                if version > sent and key[:2] == (plural, namespace):
                    self.wfile.write(json.dumps({"type": event, "object": document}).encode() + b"\n")
                    sent = version
            self.wfile.flush()
            time.sleep(0.01)


def _shown(document: dict[str, Any], subresource: str) -> dict[str, Any]:
    """Return a document, or the Scale that stands for it."""
    if subresource != "scale":
        return document
    replicas = document["spec"].get("replicas", 1)
    scale = {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": document["metadata"]}
    return scale | {"spec": {"replicas": replicas}, "status": {"replicas": replicas}}


def _reviewed(body: Any, rules: Rules | None) -> dict[str, Any]:
    asked = body["spec"]["resourceAttributes"]
    resource = "/".join(filter(None, (asked["resource"], asked.get("subresource", ""))))
    is_allowed = rules is None or rules.allow(asked.get("group", ""), resource, asked["verb"], asked.get("name", ""))
    return body | {"status": {"allowed": is_allowed}}
