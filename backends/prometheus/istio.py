"""What Istio's standard series mean: whose requests they count, and how those were answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from analysis.samples import BUCKET, COUNT, NO_EDGE, REQUESTS, SUM, UNKNOWN, Series
from rollout.answers import answer_of
from rollout.model import Track

_METRICS: Final = {
    "istio_requests_total": REQUESTS,
    "istio_request_duration_milliseconds_bucket": BUCKET,
    "istio_request_duration_milliseconds_sum": SUM,
    "istio_request_duration_milliseconds_count": COUNT,
}
_SERIES: Final = "istio_requests_total|istio_request_duration_milliseconds_(bucket|sum|count)"
_OWN: Final = frozenset({"__name__", "le", "reporter", "response_code", "response_flags", "grpc_response_status"}) | {
    *("request_protocol", "connection_security_policy"),
    *(f"{side}_{of}" for side in ("source", "destination") for of in (
        "app", "canonical_revision", "canonical_service", "cluster", "principal", "service", "service_name",
        "service_namespace", "version", "workload", "workload_namespace",
    )),
}  # fmt: skip
"""Labels of the series themselves; all others are those of the target that they were scraped from."""
_VIEW: Final = frozenset({"job", "replica", "prometheus", "prometheus_replica", "__replica__", "receive_replica"})
"""Labels of who scraped: two that differ in these alone read the same proxy."""


@dataclass(frozen=True, slots=True)
class IstioSeries:
    """The series of one service's two tracks."""

    selector: str
    tracks: Mapping[str, str]
    """By version."""

    @classmethod
    def of(
        cls, service: str | tuple[str, ...], versions: Mapping[Track, str], labels: Mapping[str, str]
    ) -> IstioSeries:
        """Return the series of a service, or of a Service a track, with these further labels."""
        name = f'="{service}"' if isinstance(service, str) else f'=~"{"|".join(service)}"'
        matchers = [f'__name__=~"{_SERIES}"', f"destination_service_name{name}"]
        matchers += [f'{label}="{value}"' for label, value in labels.items()]
        tracks = {version: str(track) for track, version in versions.items()} | {UNKNOWN: UNKNOWN}
        return cls("{" + ", ".join(matchers) + "}", tracks)

    def series_of(self, labels: Mapping[str, str]) -> Series | None:
        """Return what a series counts; None when it is none of ours."""
        reporter, track = labels.get("reporter"), self.tracks.get(labels.get("destination_version", ""))
        metric = _METRICS.get(labels.get("__name__", ""))
        pod = labels.get("pod", "") if reporter == "destination" else ""
        edge = _edge(labels.get("le", "")) if metric == BUCKET else NO_EDGE
        if track is None or metric is None or edge is None or (reporter != "source" and not pod):
            return None
        return Series(
            track=track,
            pod=pod,
            metric=metric,
            le=edge,
            answer=_answer(labels) if metric == REQUESTS else "",
            target=self.target_of(labels),
            proxy=_proxy(labels),
            labels=_text({name: value for name, value in labels.items() if name in _OWN}),
        )

    def target_of(self, labels: Mapping[str, str]) -> str:
        """Return what a series was scraped from."""
        return _text({name: value for name, value in labels.items() if name not in _OWN})


def _answer(labels: Mapping[str, str]) -> str:
    return answer_of(
        labels.get("response_code", ""), labels.get("response_flags", ""), labels.get("grpc_response_status", "")
    )


def _proxy(labels: Mapping[str, str]) -> str:
    """Return which proxy a series is of: its target without who scraped it, and by which port."""
    own = {name: value for name, value in labels.items() if name not in _OWN | _VIEW}
    if "instance" in own:
        own["instance"] = own["instance"].rpartition(":")[0] or own["instance"]
    return _text(own)


def _edge(le: str) -> float | None:
    try:
        return float(le)
    except ValueError:
        return None


def _text(labels: Mapping[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
