"""Envoy's documents: bootstrap, route weights and endpoints. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from rollout.model import Track, Weights
from rollout.ports import DRILL_HEADER
from sample.faults import Protocol

Document = dict[str, Any]

LOOPBACK = "127.0.0.1"
ROUTE = "canary"
"""Name of the route configuration, and so of its statistics: `http.gateway.rds.canary.*`."""
EDGES_MS = (
    *(0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000),
    *(300_000, 600_000, 1_800_000, 3_600_000),
)
"""Istio's bucket edges for `istio_request_duration_milliseconds`."""
_TYPE = "type.googleapis.com/envoy."
_VERSION = "%UPSTREAM_METADATA(canary:version)%"
_WORKLOAD = "%UPSTREAM_METADATA(canary:workload)%"
_CONTENT_TYPE = "request.headers['content-type']"
_IS_GRPC = f"({_CONTENT_TYPE} == 'application/grpc' || {_CONTENT_TYPE}.startsWith('application/grpc+'))"
_PROTOCOL = f"%CEL('content-type' in request.headers && {_IS_GRPC} ? 'grpc' : 'http')%"
_BEGUN = "upstream_reset_after_response_started"
_CLOSED = "upstream_reset_before_response_started{connection_termination}"
_BY_POD = f"(response.code_details in ['via_upstream', '{_CLOSED}'] || response.code_details.startsWith('{_BEGUN}'))"
"""The pod was reached: it answered, cut its answer off, or closed the connection instead."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a pod listens."""

    pod: str
    track: Track
    version: str
    port: int


def bootstrap(
    service: str, folder: Path, *, gateway_port: int, admin_port: int, protocol: Protocol = Protocol.HTTP
) -> Document:
    """Return Envoy's start configuration; port 0 lets it choose. `folder` holds `routes/` and `endpoints/`."""
    return {
        "node": {"id": "gateway", "cluster": service},
        "admin": {"address": _address(admin_port)},
        "stats_flush_interval": "1s",  # histograms are merged only at a flush
        "stats_config": {
            "use_all_default_tags": False,
            "histogram_bucket_settings": [
                {"match": {"contains": "request_duration_milliseconds"}, "buckets": list(EDGES_MS)}
            ],
        },
        "static_resources": {
            "listeners": [
                {
                    "name": "gateway",
                    "address": _address(gateway_port),
                    "filter_chains": [{"filters": [_http_filter(service, folder / "routes")]}],
                }
            ],
            "clusters": [_cluster(track, folder / "endpoints", protocol) for track in (Track.STABLE, Track.CANARY)],
        },
    }


def route_file(folder: Path) -> Path:
    """Return the file that the weights live in."""
    return folder / "routes" / "weights.json"


def spare_file(folder: Path) -> Path:
    """Return the file with all traffic on stable that is kept ready for a disk that takes no new one."""
    return folder / "spare" / "weights.json"


def endpoint_file(folder: Path, track: Track) -> Path:
    """Return the file that a track's endpoints live in."""
    return folder / "endpoints" / f"{track}.json"


def routes(weights: Weights, *, version: str, timeout: timedelta, mirror: int = 0, drill: str = "") -> Document:
    """Return the route configuration that splits the traffic by these weights, and mirrors a percentage of it.

    Requests that a drill has marked with its word go to the canary.
    """
    limit = f"{timeout.total_seconds():g}s"
    shares = {Track.STABLE: weights.stable, Track.CANARY: weights.canary}
    split = [{"name": str(track), "weight": share} for track, share in shares.items()]
    part = {"default_value": {"numerator": mirror, "denominator": "HUNDRED"}}
    copies = {"request_mirror_policies": [{"cluster": Track.CANARY, "runtime_fraction": part}]} if mirror else {}
    live = {"weighted_clusters": {"clusters": split}, "timeout": limit, **copies}
    forced = {"cluster": Track.CANARY, "timeout": limit}
    marked = {"match": {"prefix": "/", "headers": [_header(DRILL_HEADER, drill)]}, "route": forced}
    hosts = {
        "name": "all",
        "domains": ["*"],
        "routes": [
            # The fault switch of the sample service is no business of its users.
            {"match": {"prefix": "/-/"}, "direct_response": {"status": 404}},
            *([marked] if drill else []),
            {"match": {"prefix": "/", "headers": [_header("x-canary", "always")]}, "route": forced},
            {"match": {"prefix": "/"}, "route": live},
        ],
    }
    kind = f"{_TYPE}config.route.v3.RouteConfiguration"
    return {
        "version_info": version,
        "resources": [{"@type": kind, "name": ROUTE, "virtual_hosts": [hosts]}],
    }


def _header(name: str, value: str) -> Document:
    return {"name": name, "string_match": {"exact": value}}


def endpoints(service: str, track: Track, pods: Iterable[Endpoint], *, version: str) -> Document:
    """Return the endpoints of a track."""
    hosts = [
        {
            "endpoint": {"hostname": pod.pod, "address": _address(pod.port)},
            "metadata": {
                "filter_metadata": {
                    "canary": {"version": pod.version, "workload": f"{service}-{pod.version}", "pod": pod.pod}
                }
            },
        }
        for pod in pods
    ]
    kind = f"{_TYPE}config.endpoint.v3.ClusterLoadAssignment"
    return {
        "version_info": version,
        "resources": [{"@type": kind, "cluster_name": str(track), "endpoints": [{"lb_endpoints": hosts}]}],
    }


def _address(port: int) -> Document:
    return {"socket_address": {"address": LOOPBACK, "port_value": port}}


def _from_file(file: Path) -> Document:
    return {
        "path_config_source": {"path": str(file), "watched_directory": {"path": str(file.parent)}},
        "resource_api_version": "V3",
    }


def _cluster(track: Track, folder: Path, protocol: Protocol) -> Document:
    return {
        "name": str(track),
        "type": "EDS",
        "connect_timeout": "1s",
        "lb_policy": "ROUND_ROBIN",
        "eds_cluster_config": {"eds_config": _from_file(folder / f"{track}.json")},
        # The defaults of 1024 would turn slow answers into refused ones.
        "circuit_breakers": {
            "thresholds": [{"max_connections": 16384, "max_pending_requests": 16384, "max_requests": 16384}]
        },
        **(_speaking_http2() if protocol is Protocol.GRPC else {}),
    }


def _speaking_http2() -> Document:
    kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    options = {
        "@type": f"type.googleapis.com/{kind}",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    return {"typed_extension_protocol_options": {kind: options}}


def _http_filter(service: str, folder: Path) -> Document:
    manager = f"{_TYPE}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": manager,
            "stat_prefix": "gateway",
            "generate_request_id": False,
            "upgrade_configs": [{"upgrade_type": "websocket"}],
            "rds": {"route_config_name": ROUTE, "config_source": _from_file(folder / "weights.json")},
            "http_filters": [
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": {"@type": f"{_TYPE}extensions.filters.http.router.v3.Router"},
                }
            ],
            "access_log": _access_logs(service),
        },
    }


def _access_logs(service: str) -> list[Document]:
    """Return what counts: the gateway's view, with and without a host, and the pods' own view."""
    hosted = {"reporter": "source", "destination_version": _VERSION, "destination_workload": _WORKLOAD}
    lost = {"reporter": "source", "destination_version": "unknown", "destination_workload": "unknown"}
    reached = hosted | {"reporter": "destination", "pod": "%UPSTREAM_METADATA(canary:pod)%"}
    return [
        _counter(service, hosted, only="has(upstream.address)"),
        _counter(service, lost, only="!has(upstream.address) && response.flags != 0"),
        _counter(service, reached, only=f"has(upstream.address) && {_BY_POD}"),
    ]


def _filter(expression: str) -> Document:
    return {
        "extension_filter": {
            "name": "envoy.access_loggers.extension_filters.cel",
            "typed_config": {
                "@type": f"{_TYPE}extensions.access_loggers.filters.cel.v3.ExpressionFilter",
                "expression": expression,
            },
        }
    }


def _counter(service: str, tags: Mapping[str, str], *, only: str) -> Document:
    labels = {
        **tags,
        "destination_service_name": service,
        "response_code": "%RESPONSE_CODE%",
        "response_flags": "%RESPONSE_FLAGS%",
        "grpc_response_status": "%GRPC_STATUS_NUMBER%",
        "request_protocol": _PROTOCOL,
    }
    listed = [{"name": name, "value_format": value} for name, value in labels.items()]
    return {
        "name": "envoy.access_loggers.stats",
        "filter": _filter(only),
        "typed_config": {
            "@type": f"{_TYPE}extensions.access_loggers.stats.v3.Config",
            "stats_scope": {"prefix": "istio"},
            "counters": [{"stat": {"name": "requests_total", "tags": listed}, "value_fixed": 1}],
            "histograms": [
                {
                    "stat": {"name": "request_duration_milliseconds", "tags": listed},
                    "unit": "Milliseconds",
                    "value_format": "%DURATION%",
                }
            ],
        },
    }
