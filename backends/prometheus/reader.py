"""Counters from Prometheus, as the one tidy frame. The same two label sets on Istio and on the embedded Envoy."""

from __future__ import annotations

import logging
from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Final

import pandas as pd
from pandas.api.types import union_categoricals

from backends.pod_metrics import PodMetrics
from backends.prometheus.access import Access
from backends.prometheus.address import Address
from backends.prometheus.api import PrometheusApi
from backends.totals import COLUMNS, NO_EDGE, Counter, Series, totals
from rollout.errors import NoSamplesError
from rollout.model import Track

UNKNOWN = "unknown"
"""Istio's version of requests that found no pod; the frame's track for them."""
_SERIES = "istio_requests_total|istio_request_duration_milliseconds_(bucket|sum|count)"
_METRICS: Final = {
    "istio_requests_total": "requests_total",
    "istio_request_duration_milliseconds_bucket": "duration_ms_bucket",
    "istio_request_duration_milliseconds_sum": "duration_ms_sum",
    "istio_request_duration_milliseconds_count": "duration_ms_count",
}
_TEXTS: Final = ["track", "pod", "metric"]
_PART: Final = timedelta(minutes=15)
"""How much of the past one query asks for."""
_OVERLAP: Final = timedelta(minutes=2)
"""How far a query reaches back before its part: gateways are scraped at moments of their own."""

log = logging.getLogger(__name__)


class PrometheusMetrics:
    """The samples of one service's two tracks.

    Rows with an empty `pod` are the gateway's view (`reporter="source"`), rows with a pod are the pods' own
    (`reporter="destination"`): the same requests, never to be added up. Requests that found no pod have the
    track `unknown`.

    Parameters
    ----------
    url
        Where Prometheus answers.
    service
        `destination_service_name` of the service, or of each track's own Service.
    versions
        `destination_version` of each track.
    timeout
        Time limit of one read, to be kept below one scrape. Nothing is retried.
    labels
        Further labels that the series must have, such as a namespace.
    access
        How one gets in, or what gives that at the first query.
    """

    def __init__(
        self,
        url: str | Address,
        service: str | tuple[str, ...],
        versions: Mapping[Track, str],
        *,
        timeout: timedelta = timedelta(milliseconds=800),
        labels: Mapping[str, str] | None = None,
        access: Access | Callable[[], Access] | None = None,
    ) -> None:
        self._tracks = {version: str(track) for track, version in versions.items()} | {UNKNOWN: UNKNOWN}
        self._seconds = timeout.total_seconds()
        name = f'="{service}"' if isinstance(service, str) else f'=~"{"|".join(service)}"'
        matchers = [f'__name__=~"{_SERIES}"', f"destination_service_name{name}"]
        matchers += [f'{label}="{value}"' for label, value in (labels or {}).items()]
        self._selector = "{" + ", ".join(matchers) + "}"
        self._namespace = (labels or {}).get("destination_service_namespace")
        self._pods: PodMetrics | None = None
        self._api = PrometheusApi(url, access)
        self.url = self._api.url

    def with_timeout(self, timeout: timedelta) -> PrometheusMetrics:
        """Return a reader of the same samples with another time limit, for whoever has more time than a scrape."""
        reader = copy(self)
        reader._seconds = timeout.total_seconds()
        return reader

    def with_pods(self, metrics: tuple[str, ...], service: str) -> PrometheusMetrics:
        """Return a reader that also reads these metrics of the service's pods; their rows name the pod.

        They are asked for apart, so each of the two queries has half the time. That there are none is no error.
        """
        if not metrics:
            return self
        reader = copy(self)
        tracks = {version: track for version, track in self._tracks.items() if version != UNKNOWN}
        reader._pods = PodMetrics(metrics, service, tracks, {"namespace": self._namespace} if self._namespace else {})
        reader._seconds = self._seconds / 2
        return reader

    def read(self, since: datetime) -> pd.DataFrame:
        """Return every sample scraped from `since` to now, in order of time.

        Columns: `time` (seconds since the epoch), `track`, `pod`, `metric`, `le` (ms, NaN for other metrics than
        `duration_ms_bucket`), `value` (a counter). Wherever `requests_total` has a row, so has `errors_total`.

        Raises
        ------
        UnavailableError
            When Prometheus does not answer in time, or not with samples.
        NoSamplesError
            When it answers and has none of the gateway's.
        """
        until = datetime.now(UTC)
        tidy = self._tidy(since, until)
        if not (tidy["pod"] == "").any():
            raise NoSamplesError(f"no series {self._selector} since {since.isoformat()} at {self.url}")
        return self._with_own(tidy, since, until)

    def read_range(self, since: datetime, until: datetime) -> pd.DataFrame:
        """Return every sample scraped after `since`, up to `until`, as `read` does; its texts are categories.

        A long time is asked for in parts, as a server and this machine's memory bear them.
        """
        parts, start = [], since
        while start < until:
            end = min(start + _PART, until)
            tidy = self._with_own(self._tidy(start - _OVERLAP, end), start - _OVERLAP, end)
            parts.append(tidy[tidy["time"] > start.timestamp()].astype(dict.fromkeys(_TEXTS, "category")))
            start = end
        whole = _stacked(parts)
        if not (whole["pod"] == "").any():
            span = f"from {since.isoformat()} to {until.isoformat()}"
            raise NoSamplesError(f"no series {self._selector} {span} at {self.url}")
        return whole

    def increase(self, counter: str, since: datetime) -> float:
        """Return by how much a counter has grown since a moment, over all its series; 0 where it has none.

        A series that appears counts from its first sample on, and a fall is a reset. Raises as `read` does.
        """
        found = self._query(counter, since, datetime.now(UTC))
        return sum(_growth([float(value) for _, value in one["values"]]) for one in found)

    def _with_own(self, tidy: pd.DataFrame, since: datetime, until: datetime) -> pd.DataFrame:
        """Return the frame with the pods' own metrics of the same time."""
        if self._pods is None:
            return tidy
        own = self._pods.frame(self._query(self._pods.selector, since, until))
        return (
            pd.concat([tidy, own[COLUMNS]]).sort_values("time", kind="stable", ignore_index=True) if len(own) else tidy
        )

    def _tidy(self, since: datetime, until: datetime) -> pd.DataFrame:
        found = _counted_once(self._query(self._selector, since, until))
        return totals([series for one in found for series in self._series(one["metric"], one["values"])])

    def _query(self, selector: str, since: datetime, until: datetime) -> list[dict[str, Any]]:
        answer = self._api.samples(selector, since, until, timeout=timedelta(seconds=self._seconds))
        return [
            {"metric": series.labels, "values": list(zip(series.times.tolist(), series.values.tolist(), strict=True))}
            for series in answer.series
            if len(series.times)
        ]

    def _series(self, labels: Mapping[str, str], samples: list[tuple[float, str]]) -> Iterator[Series]:
        """Yield what a series counts; nothing when it is none of ours."""
        reporter, track = labels.get("reporter"), self._tracks.get(labels.get("destination_version", ""))
        pod = labels.get("pod", "") if reporter == "destination" else ""
        if track is None or (reporter != "source" and not pod):
            return
        metric, gateway = _METRICS[labels["__name__"]], labels.get("instance", "")
        edge = float(labels["le"]) if "le" in labels else NO_EDGE
        yield Series(Counter(track, pod, metric, edge), gateway, samples)
        if metric == "requests_total":
            # Without an error yet there is no error series: zero has to be said, or the first would be a baseline.
            is_zero = not labels.get("response_code", "").startswith("5")
            yield Series(Counter(track, pod, "errors_total"), gateway, samples, is_zero)


def _counted_once(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each proxy's series by the one scrape job that reads it most often: its counters are the same in all.

    Istio's own Prometheus reads each proxy at its merged port; a job that reads it more often stands beside that.
    """
    targets = Tally[tuple[str, str]]()
    for one in found:
        targets[_target(one["metric"])] += len(one["values"])
    jobs = Tally[tuple[str, str]]()
    for (instance, job), samples in targets.items():
        jobs[_proxy(instance), job] += samples
    often = {proxy: job for (proxy, job), _ in sorted(jobs.items(), key=lambda item: (item[1], item[0]))}
    kept = {(instance, job) for instance, job in targets if often[_proxy(instance)] == job}
    return [one for one in found if _target(one["metric"]) in kept]


def _growth(values: list[float]) -> float:
    return sum(after - before if after >= before else after for before, after in pairwise(values))


def _target(labels: Mapping[str, str]) -> tuple[str, str]:
    return labels.get("instance", ""), labels.get("job", "")


def _proxy(instance: str) -> str:
    """Return the address that a series was read at, without the port."""
    return instance.rpartition(":")[0] or instance


def _stacked(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Return the parts in one piece; their texts keep few bytes a row."""
    parts = [part for part in parts if len(part)]
    if not parts:
        return pd.DataFrame(columns=COLUMNS)
    texts = {name: union_categoricals([part[name] for part in parts]) for name in _TEXTS}
    return pd.concat([part.drop(columns=_TEXTS) for part in parts], ignore_index=True).assign(**texts)[COLUMNS]
