"""Counters from Prometheus, as the one tidy frame. The same two label sets on Istio and on the embedded Envoy."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Final
from urllib.parse import urlparse

import numpy as np
import pandas as pd
import requests
from pandas.api.types import union_categoricals
from prometheus_api_client import PrometheusApiClientException, PrometheusConnect
from urllib3.util.retry import Retry

from backends.pod_metrics import PodMetrics
from rollout.errors import NoSamplesError, UnavailableError
from rollout.model import Track

COLUMNS: Final = ["time", "track", "pod", "metric", "le", "value"]
UNKNOWN = "unknown"
"""Istio's version of requests that found no pod; the frame's track for them."""
_SERIES = "istio_requests_total|istio_request_duration_milliseconds_(bucket|sum|count)"
_METRICS: Final = {
    "istio_requests_total": "requests_total",
    "istio_request_duration_milliseconds_bucket": "duration_ms_bucket",
    "istio_request_duration_milliseconds_sum": "duration_ms_sum",
    "istio_request_duration_milliseconds_count": "duration_ms_count",
}
_KEYS: Final = ["time", "track", "pod", "metric", "le"]
_TEXTS: Final = ["track", "pod", "metric"]
_PART: Final = timedelta(minutes=15)
"""How much of the past one query asks for."""
_OVERLAP: Final = timedelta(minutes=2)
"""How far a query reaches back before its part: gateways are scraped at moments of their own."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Source:
    """What a series counts, and who counted it."""

    track: str
    pod: str
    metric: str
    le: float
    gateway: str
    failed: bool


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
    """

    def __init__(
        self,
        url: str,
        service: str | tuple[str, ...],
        versions: Mapping[Track, str],
        *,
        timeout: timedelta = timedelta(milliseconds=800),
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self._url = url
        self._tracks = {version: str(track) for track, version in versions.items()} | {UNKNOWN: UNKNOWN}
        self._seconds = timeout.total_seconds()
        name = f'="{service}"' if isinstance(service, str) else f'=~"{"|".join(service)}"'
        matchers = [f'__name__=~"{_SERIES}"', f"destination_service_name{name}"]
        matchers += [f'{label}="{value}"' for label, value in (labels or {}).items()]
        self._selector = "{" + ", ".join(matchers) + "}"
        self._namespace = (labels or {}).get("destination_service_namespace")
        self._pods: PodMetrics | None = None
        self._client = PrometheusConnect(url, retry=Retry(total=0, read=False), session=_session(url))

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
        samples = self._samples(since, until)
        if not (samples["pod"] == "").any():
            raise NoSamplesError(f"no series {self._selector} since {since.isoformat()} at {self._url}")
        return self._with_own(_tidy(samples), since, until)

    def read_range(self, since: datetime, until: datetime) -> pd.DataFrame:
        """Return every sample scraped after `since`, up to `until`, as `read` does; its texts are categories.

        A long time is asked for in parts, as a server and this machine's memory bear them.
        """
        parts, start = [], since
        while start < until:
            end = min(start + _PART, until)
            tidy = self._with_own(_tidy(self._samples(start - _OVERLAP, end)), start - _OVERLAP, end)
            parts.append(tidy[tidy["time"] > start.timestamp()].astype(dict.fromkeys(_TEXTS, "category")))
            start = end
        whole = _stacked(parts)
        if not (whole["pod"] == "").any():
            span = f"from {since.isoformat()} to {until.isoformat()}"
            raise NoSamplesError(f"no series {self._selector} {span} at {self._url}")
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

    def _samples(self, since: datetime, until: datetime) -> pd.DataFrame:
        found = _counted_once(self._query(self._selector, since, until))
        return _samples(
            [(source, one["values"]) for one in found if (source := self._source(one["metric"])) is not None]
        )

    def _query(self, selector: str, since: datetime, until: datetime) -> list[dict[str, Any]]:
        window = max(round((until - since) / timedelta(milliseconds=1)), 1)
        query = f"{selector}[{window}ms]"
        try:
            found = self._client.custom_query(query, {"time": f"{until.timestamp():.3f}"}, timeout=self._seconds)
        except (requests.RequestException, PrometheusApiClientException, KeyError) as error:
            raise UnavailableError(f"query {self._url}: {_said(error)}") from error
        return list(found)

    def _source(self, labels: Mapping[str, str]) -> _Source | None:
        """Return what a series counts, or None when it is none of ours."""
        reporter, track = labels.get("reporter"), self._tracks.get(labels.get("destination_version", ""))
        if track is None or reporter not in ("source", "destination"):
            return None
        pod = labels.get("pod", "") if reporter == "destination" else ""
        if reporter == "destination" and not pod:
            return None
        return _Source(
            track=track,
            pod=pod,
            metric=_METRICS[labels["__name__"]],
            le=float(labels["le"]) if "le" in labels else np.nan,
            gateway=labels.get("instance", ""),
            failed=labels.get("response_code", "").startswith("5"),
        )


def _counted_once(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each proxy's series by the one scrape job that reads it most often: its counters are the same in all.

    Istio's own Prometheus reads each proxy at its merged port; a job that reads it more often stands beside that.
    """
    samples: Counter[tuple[str, str]] = Counter()
    for one in found:
        samples[_proxy(one["metric"]), _job(one["metric"])] += len(one["values"])
    often = {proxy: job for (proxy, job), _ in sorted(samples.items(), key=lambda item: (item[1], item[0]))}
    return [one for one in found if often[_proxy(one["metric"])] == _job(one["metric"])]


def _growth(values: list[float]) -> float:
    return sum(after - before if after >= before else after for before, after in pairwise(values))


def _proxy(labels: Mapping[str, str]) -> str:
    """Return the address that a series was read at, without the port."""
    instance = labels.get("instance", "")
    return instance.rpartition(":")[0] or instance


def _job(labels: Mapping[str, str]) -> str:
    return labels.get("job", "")


def _stacked(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Return the parts in one piece; their texts keep few bytes a row."""
    parts = [part for part in parts if len(part)]
    if not parts:
        return pd.DataFrame(columns=COLUMNS)
    texts = {name: union_categoricals([part[name] for part in parts]) for name in _TEXTS}
    return pd.concat([part.drop(columns=_TEXTS) for part in parts], ignore_index=True).assign(**texts)[COLUMNS]


def _said(error: Exception) -> str:
    """Return what went wrong without the long query that urllib3 repeats."""
    cause = getattr(error.args[0], "reason", error) if error.args else error
    return f"{type(error).__name__}: {str(cause)[:200]}"


def _session(url: str) -> requests.Session:
    session = requests.Session()
    # A proxy set for the outside world has nothing to do with the loopback.
    session.trust_env = urlparse(url).hostname not in ("127.0.0.1", "localhost", "::1")
    return session


def _samples(series: list[tuple[_Source, list[tuple[float, str]]]]) -> pd.DataFrame:
    """Return all samples of all series in one table; NaN is no sample."""
    labels = pd.DataFrame([source for source, _ in series], columns=[field.name for field in fields(_Source)])
    counts = [len(values) for _, values in series]
    rows = labels.iloc[np.repeat(np.arange(len(series)), counts)].reset_index(drop=True)
    times, numbers = np.array([sample for _, values in series for sample in values], dtype=float).reshape(-1, 2).T
    rows = rows.assign(time=times, value=numbers).dropna(subset="value")
    requests = rows[rows["metric"] == "requests_total"]
    # Without an error yet there is no error series: zero has to be said, or the first errors would be a baseline.
    errors = requests.assign(metric="errors_total", value=requests["value"].where(requests["failed"], 0.0))
    return pd.concat([rows, errors], ignore_index=True)


def _tidy(samples: pd.DataFrame) -> pd.DataFrame:
    """Return one counter a track, pod, metric and edge: response codes added up, then gateways."""
    counted = samples.groupby([*_KEYS, "gateway"], dropna=False, sort=True)["value"].sum().reset_index()
    if counted["gateway"].nunique() > 1:
        counted = _one_gateway(counted)
    return counted[COLUMNS]


def _one_gateway(counted: pd.DataFrame) -> pd.DataFrame:
    """Return the sum over gateways that are scraped at moments of their own: each keeps its last value in between."""
    series = ["track", "pod", "metric", "le"]
    wide = counted.assign(le=counted["le"].fillna(-1)).pivot(index="time", columns=[*series, "gateway"], values="value")
    total = wide.ffill().T.groupby(level=series).sum(min_count=1).T
    long = total.melt(ignore_index=False).dropna(subset="value").reset_index()
    return long.assign(le=long["le"].where(long["le"] >= 0)).sort_values(_KEYS)
