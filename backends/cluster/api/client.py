"""The API server, as a few verbs on plain documents.

The vendor's client brings configuration, authentication and connections; its models are left out, because a field
that they do not know must survive a read and a write.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlparse

import yaml
from kubernetes.client import ApiClient, ApiException, Configuration
from kubernetes.config import ConfigException, load_incluster_config, load_kube_config
from urllib3.exceptions import HTTPError

from backends.cluster.api.api_documents import as_document, as_items, as_object
from backends.cluster.api.api_errors import ApiRequest, MissingError, is_transient, retry_after_seconds, translate_error
from backends.route_patches import Document, Operation
from rollout.errors import SetupError

MANAGER: Final = "canary-pipeline"
"""The field manager and user agent of our requests."""
_FIRST_PAUSE_SECONDS: Final = 0.02
_JSON: Final = "application/json"
_METADATA: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_METADATA_OF_ALL: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_JSON_PATCH: Final = "application/json-patch+json"
_MERGE_PATCH: Final = "application/merge-patch+json"


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object in the service's namespace."""

    group: str
    version: str
    plural: str
    file: str
    """The file that creates the object, or what brings its kind."""

    @property
    def title(self) -> str:
        """Plural and group, as the server writes them."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str) -> str:
        """Return where its objects lie."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        return f"{root}/namespaces/{namespace}/{self.plural}"


_ISTIO: Final = ("networking.istio.io", "v1")
VIRTUAL_SERVICES: Final = Resource(*_ISTIO, "virtualservices", "istio/ (and Istio itself its kind)")
DESTINATION_RULES: Final = Resource(*_ISTIO, "destinationrules", "istio/ (and Istio itself its kind)")
GATEWAYS: Final = Resource(*_ISTIO, "gateways", "istio/ (and Istio itself its kind)")
HTTP_ROUTES: Final = Resource("gateway.networking.k8s.io", "v1", "httproutes", "manifests/overlays/gateway-api")
SERVICES: Final = Resource("", "v1", "services", "manifests/overlays/gateway-api")
DEPLOYMENTS: Final = Resource("apps", "v1", "deployments", "manifests/app")
PODS: Final = Resource("", "v1", "pods", "manifests/app")
CONFIG_MAPS: Final = Resource("", "v1", "configmaps", "the first write")
SECRETS: Final = Resource("", "v1", "secrets", "whoever keeps the service's secrets")
EVENTS: Final = Resource("", "v1", "events", "the first write")
QUOTAS: Final = Resource("", "v1", "resourcequotas", "the cluster's operator")
LEASES: Final = Resource("coordination.k8s.io", "v1", "leases", "the first rollout")
AUTOSCALERS: Final = Resource("autoscaling", "v2", "horizontalpodautoscalers", "manifests/app")

SCALED_OBJECTS: Final = Resource("keda.sh", "v1alpha1", "scaledobjects", "whoever scales the service by KEDA")


class Api:
    """Verbs on the documents of one namespace.

    Every call ends within `deadline`: what may pass (no answer, 429, 5xx) is tried again with a growing, jittered
    pause as long as there is time. Each write of ours names its precondition or its absolute outcome, so that one
    whose answer was lost can be sent again.

    Parameters
    ----------
    client
        The vendor's client, with its own retries off.
    namespace
        Where the service lives.
    deadline
        Time limit of one call with all its attempts, to be kept below one scrape.
    """

    def __init__(self, client: ApiClient, namespace: str, deadline: timedelta) -> None:
        self.namespace = namespace
        self._client = client
        self.deadline = deadline
        self._jitter = random.Random()

    def get(self, resource: Resource, name: str) -> Document:
        """Return an object."""
        request = self._request("get", resource, name)
        return as_object(self._call("GET", self._path(resource, name), request), request)

    def version_of(self, resource: Resource, name: str) -> str:
        """Return an object's resourceVersion; nothing else of it is sent."""
        request = self._request("get", resource, name)
        document = as_object(self._call("GET", self._path(resource, name), request, accept=_METADATA), request)
        return str(document["metadata"]["resourceVersion"])

    def list_metadata(self, resource: Resource, labels: str) -> list[Document]:
        """Return the metadata of all objects that have these labels; nothing else of them is sent."""
        request, query = self._request("list", resource), {"labelSelector": labels}
        document = self._call("GET", self._path(resource), request, query=query, accept=_METADATA_OF_ALL)
        return [item["metadata"] for item in as_items(document, request)]

    def list(self, resource: Resource, labels: str = "") -> list[Document]:
        """Return all objects that have these labels, such as `app=shop,track=canary`."""
        request, query = self._request("list", resource), {"labelSelector": labels} if labels else {}
        return as_items(self._call("GET", self._path(resource), request, query=query), request)

    def create(self, resource: Resource, document: Document) -> Document:
        """Create an object; ConflictError when it is there."""
        request = self._request("create", resource, document["metadata"].get("name", ""))
        return as_object(self._call("POST", self._path(resource), request, body=document, content=_JSON), request)

    def patch(
        self, resource: Resource, name: str, patch: Sequence[Operation] | Mapping[str, Any], *, subresource: str = ""
    ) -> Document:
        """Change an object by a JSON patch (a sequence) or a merge patch (a mapping), and return what it is then."""
        is_merge = isinstance(patch, Mapping)
        request = self._request("patch", resource, name, subresource)
        path = self._path(resource, name) + (f"/{subresource}" if subresource else "")
        body = dict(patch) if isinstance(patch, Mapping) else list(patch)
        content = _MERGE_PATCH if is_merge else _JSON_PATCH
        return as_object(self._call("PATCH", path, request, body=body, content=content), request)

    def delete(self, resource: Resource, name: str) -> None:
        """Remove an object; one that is not there is removed already."""
        with suppress(MissingError):
            self._call("DELETE", self._path(resource, name), self._request("delete", resource, name))

    def call_raw(self, path: str, *, body: Document | None = None) -> tuple[Document, Mapping[str, str]]:
        """Return what the server itself says at a path, and the answer's headers."""
        request = ApiRequest("get" if body is None else "create", path, "", "Kubernetes")
        response = self._send_with_retries("GET" if body is None else "POST", path, request, body=body, content=_JSON)
        return as_document(response.read(), request), response.getheaders()

    def _path(self, resource: Resource, name: str = "") -> str:
        return resource.path(self.namespace) + (f"/{name}" if name else "")

    def _request(self, verb: str, resource: Resource, name: str = "", subresource: str = "") -> ApiRequest:
        what = resource.title + (f"/{subresource}" if subresource else "")
        return ApiRequest(verb, what, f"{self.namespace}/{name}" if name else f"in {self.namespace}", resource.file)

    def _call(self, method: str, path: str, request: ApiRequest, **options: Any) -> Document:
        return as_document(self._send_with_retries(method, path, request, **options).read(), request)

    def _send_with_retries(self, method: str, path: str, request: ApiRequest, **options: Any) -> Any:
        end, pause = time.monotonic() + self.deadline.total_seconds(), _FIRST_PAUSE_SECONDS
        while True:
            try:
                return self._send(method, path, end - time.monotonic(), **options)
            except (ApiException, HTTPError) as error:
                wait = max(pause * self._jitter.uniform(0.5, 1.5), retry_after_seconds(error))
                if not is_transient(error) or time.monotonic() + wait >= end:
                    raise translate_error(error, request) from error
            time.sleep(wait)
            pause *= 2

    def _send(
        self,
        method: str,
        path: str,
        seconds: float,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content: str = "",
        accept: str = _JSON,
    ) -> Any:
        headers = {"Accept": accept} | ({"Content-Type": content} if content else {})
        parameters = dict(query or {}) | ({"fieldManager": MANAGER} if content else {})
        request = self._client.param_serialize(
            method,
            path,
            query_params=list(parameters.items()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        # One attempt must leave time for another, or one lost answer would use up the deadline.
        response: Any = self._client.call_api(*request, _request_timeout=max(seconds / 2, 0.05))
        if not 200 <= response.status < 300:
            response.read()
            raise ApiException(http_resp=response)
        response.read()
        return response


def connect(kubeconfig: Path | None, context: str = "") -> ApiClient:
    """Return a client for the cluster that a kubeconfig names, or, without one, the one this runs in.

    Raises
    ------
    SetupError
        When there is neither.
    """
    configuration = Configuration()
    try:
        if kubeconfig is None and _is_inside():
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            file = str(kubeconfig) if kubeconfig else None
            load_kube_config(file, context or None, client_configuration=configuration)  # type: ignore[no-untyped-call]
    except (ConfigException, OSError, ValueError, yaml.YAMLError) as error:
        where = kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
        reason = str(error).partition("\n")[0].rstrip(".")
        raise SetupError(
            f"{where}: no usable kubeconfig: {reason}; "
            "`export KUBECONFIG=FILE`, or --kubeconfig FILE and --context NAME"
        ) from error
    configuration.retries = False
    if urlparse(configuration.host).hostname in ("127.0.0.1", "localhost", "::1"):
        configuration.proxy = None  # a proxy set for the outside world has nothing to do with the loopback
    client = ApiClient(configuration)
    client.user_agent = MANAGER
    return client


def _is_inside() -> bool:
    return "KUBECONFIG" not in os.environ and Path("/var/run/secrets/kubernetes.io/serviceaccount/token").is_file()
