"""A service's counters as a Prometheus-compatible server has them: one series of one proxy each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import copy
from datetime import UTC, datetime, timedelta
from re import escape
from typing import Final

from analysis.increase import Known, increase
from analysis.samples import REQUESTS, Samples, Series, joined
from backends.prometheus.access import Access
from backends.prometheus.address import Address
from backends.prometheus.api import Answer, PrometheusApi, SampledSeries
from backends.prometheus.istio import IstioSeries
from backends.prometheus.pod_metrics import PodMetrics
from rollout.errors import NoSamplesError, UnavailableError
from rollout.model import Track

_PART: Final = timedelta(minutes=15)
"""How much of the past one query asks for."""
_OVERLAP: Final = timedelta(minutes=2)
"""How far a query reaches back before its part, so that what it counts has something to grow from."""
_MOST_TARGETS: Final = 50
"""Targets whose start one query asks for."""
_STARTED: Final = "(istio_agent_)?process_start_time_seconds"


class PrometheusMetrics:
    """The samples of one service's two tracks.

    Series with an empty `pod` are the gateway's view, series with a pod are the pods' own: the same requests, never to
    be added up. Requests that found no pod have the track `unknown`.

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
        self._api = PrometheusApi(url, access)
        self._timeout = timeout
        self._meaning = IstioSeries.of(service, versions, labels or {})
        self._versions = versions
        self._namespace = (labels or {}).get("destination_service_namespace")
        self._pods: PodMetrics | None = None
        self._named: dict[str, Series | None] = {}
        """What each series means; a server has the same ones at every look."""
        self._places: dict[str, tuple[str, str]] = {}
        """Instance and job of each target."""

    @property
    def url(self) -> str:
        """Where the server answers, as it can be shown."""
        return self._api.url

    def with_timeout(self, timeout: timedelta) -> PrometheusMetrics:
        """Return a reader of the same samples with another time limit, for whoever has more time than a scrape."""
        reader = copy(self)
        reader._timeout = timeout
        return reader

    def with_pods(self, metrics: tuple[str, ...], service: str) -> PrometheusMetrics:
        """Return a reader that also reads these metrics of the service's pods; their series name the pod.

        They are asked for apart, so each of the two queries has half the time. That there are none is no error.
        """
        if not metrics:
            return self
        reader = copy(self)
        tracks = {version: str(track) for track, version in self._versions.items()}
        reader._pods = PodMetrics(metrics, service, tracks, {"namespace": self._namespace} if self._namespace else {})
        reader._timeout = self._timeout / 2
        return reader

    def read(self, since: datetime) -> Samples:
        """Return every sample scraped from `since` to now.

        Raises
        ------
        UnavailableError
            When Prometheus does not answer in time, or not with samples.
        NoSamplesError
            When it answers and has none of the gateway's.
        """
        until = datetime.now(UTC)
        samples = self._samples(since, until)
        if not _has_gateway(samples):
            raise NoSamplesError(f"no series {self._meaning.selector} since {since.isoformat()} at {self.url}")
        return samples

    def read_range(self, since: datetime, until: datetime) -> Samples:
        """Return every sample scraped after `since`, up to `until`, as `read` does.

        A long time is asked for in parts, as a server and this machine's memory bear them.
        """
        parts = list(self.read_parts(since, until))
        if not any(map(_has_gateway, parts)):
            span = f"from {since.isoformat()} to {until.isoformat()}"
            raise NoSamplesError(f"no series {self._meaning.selector} {span} at {self.url}")
        return joined(parts)

    def read_parts(self, since: datetime, until: datetime) -> Iterator[Samples]:
        """Yield the samples scraped after `since`, up to `until`, part by part; a part reaches back into the last."""
        start = since
        while start < until:
            end = min(start + _PART, until)
            yield self._samples(max(start - _OVERLAP, since), end)
            start = end

    def increase(self, counter: str, since: datetime) -> float:
        """Return by how much a counter has grown since a moment, over all its series; 0 where it has none.

        Raises as `read` does.
        """
        answer = self._api.samples(counter, since, datetime.now(UTC), timeout=self._timeout)
        named = (
            (Series("", "", counter, target=_target(one.labels), labels=one.identity), one) for one in answer.series
        )
        growth, _ = increase(Known(), Samples.of((series, one.times, one.values) for series, one in named))
        return float(growth.amount.sum())

    def _samples(self, since: datetime, until: datetime) -> Samples:
        known = frozenset(self._places)
        answer = self._api.samples(self._meaning.selector, since, until, timeout=self._timeout)
        parts, warnings = [(series, one.times, one.values) for series, one in self._meant(answer)], answer.warnings
        if self._pods is not None:
            own = self._api.samples(self._pods.selector, since, until, timeout=self._timeout)
            parts += [(series, one.times, one.values) for series, one in self._pods.meant(own.series)]
            warnings = tuple(dict.fromkeys((*warnings, *own.warnings)))
        fresh = {target: place for target, place in self._places.items() if target not in known} if known else {}
        started = self._started(fresh, until)
        return Samples.of(parts, since=since.timestamp(), started=started, warnings=warnings)

    def _meant(self, answer: Answer) -> Iterator[tuple[Series, SampledSeries]]:
        named = self._named
        for one in answer.series:
            if one.identity not in named:
                named[one.identity] = self._meaning.series_of(one.labels)
                place = (one.labels.get("instance", ""), one.labels.get("job", ""))
                self._places[self._meaning.target_of(one.labels)] = place
            if (series := named[one.identity]) is not None:
                yield series, one

    def _started(self, fresh: Mapping[str, tuple[str, str]], now: datetime) -> dict[str, float]:
        """Return when the processes behind targets that are new to this reader started, as far as that is known."""
        instances = sorted({instance for instance, _ in fresh.values() if instance})[:_MOST_TARGETS]
        if not instances:
            return {}
        query = f'{{__name__=~"{_STARTED}", instance=~"{"|".join(map(_quoted, instances))}"}}'
        try:
            known = self._api.instant(query, now, timeout=self._timeout)
        except UnavailableError:
            return {}
        starts = {(one.labels.get("instance"), one.labels.get("job")): float(one.values[-1]) for one in known.series}
        return {target: starts[place] for target, place in fresh.items() if place in starts}


_TARGET: Final = ("instance", "job", "pod", "namespace", "cluster", "container", "endpoint", "service", "node")
"""Labels that a scrape gives to all series of its target, whatever is counted."""


def _target(labels: Mapping[str, str]) -> str:
    return ",".join(f"{name}={labels[name]}" for name in _TARGET if name in labels)


def _quoted(text: str) -> str:
    return escape(text).replace("\\", "\\\\").replace('"', '\\"')


def _has_gateway(samples: Samples) -> bool:
    return any(not series.pod and series.metric == REQUESTS for series in samples.series)
