"""A service's counters as a Prometheus-compatible server has them: one series of one proxy each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import copy
from datetime import UTC, datetime, timedelta
from typing import Final

from analysis.scrapes.increase import CounterState, increase
from analysis.scrapes.samples import REQUESTS, Floats, Samples, Series, joined
from backends.profiles.shipped import load_profile
from backends.profiles.source_profile import Profile
from backends.prometheus.address import Address
from backends.prometheus.api import PrometheusApi, QueryResult
from backends.prometheus.http_config import Access
from backends.prometheus.matchers import matching, one_of
from backends.prometheus.pod_metrics import SCRAPER_LABELS, PodMetrics
from backends.prometheus.profile_series import ProfileSeries
from backends.prometheus.service_names import ServiceNames
from rollout.errors import NoSamplesError, UnavailableError
from rollout.model import Track
from rollout.selectors import Selector, braced

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
        The service.
    versions
        The version of each track.
    timeout
        Time limit of one read, to be kept below one scrape. Nothing is retried.
    namespace
        The service's namespace; empty where it is not known.
    destinations, subsets
        The tracks' own Services, or their subsets, where they have them.
    profile
        Where the server has what: the name of a shipped profile, or a file.
    access
        How one gets in, or what gives that at the first query.
    """

    def __init__(
        self,
        url: str | Address,
        service: str,
        versions: Mapping[Track, str],
        *,
        timeout: timedelta = timedelta(milliseconds=800),
        namespace: str = "",
        destinations: Mapping[Track, str] | None = None,
        subsets: Mapping[Track, str] | None = None,
        profile: str = "istio",
        access: Access | Callable[[], Access] | None = None,
    ) -> None:
        self._api = PrometheusApi(url, access)
        self._timeout = timeout
        names = ServiceNames(service, versions, namespace, destinations or {}, subsets or {})
        self._sources = tuple(ProfileSeries(source_profile, names) for source_profile in _with_fallbacks(profile))
        """The first that the server has series of is read from then on."""
        self._versions = versions
        self._namespace = namespace
        self._pod_metrics: PodMetrics | None = None

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
        reader._pod_metrics = self._pod_metrics_of(service, metrics)
        reader._timeout = self._timeout / 2
        return reader

    def owners(self, metric: str, service: str, since: datetime) -> tuple[str, ...]:
        """Return whose each series is that one of the pods' metrics has since a moment; an empty text where nobody's.

        Raises as `read` does.
        """
        pods = self._pod_metrics_of(service, (metric,))
        result = self._api.samples(pods.query_of(metric), since, datetime.now(UTC), timeout=self._timeout)
        owners = (pods.owner(sampled.labels) for sampled in result.series if len(sampled.times))
        return tuple(owner[0] if owner else "" for owner in owners)

    def _pod_metrics_of(self, service: str, metrics: tuple[str, ...]) -> PodMetrics:
        tracks = {version: str(track) for track, version in self._versions.items()}
        return PodMetrics(metrics, service, tracks, {"namespace": self._namespace} if self._namespace else {})

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
            raise NoSamplesError(f"{self._describe_missing(samples)} since {since.isoformat()} at {self.url}")
        return samples

    def read_range(self, since: datetime, until: datetime) -> Samples:
        """Return every sample scraped after `since`, up to `until`, as `read` does.

        A long time is asked for in parts, as a server and this machine's memory bear them.
        """
        parts = list(self.read_parts(since, until))
        if not any(map(_has_gateway, parts)):
            span = f"from {since.isoformat()} to {until.isoformat()}"
            raise NoSamplesError(f"{self._describe_missing(*parts)} {span} at {self.url}")
        return joined(parts)

    def _describe_missing(self, *parts: Samples) -> str:
        """Return which series are missing, by what they are told from those that are there."""
        source = self._sources[0]
        requests = [series for samples in parts for series in samples.series if series.metric == REQUESTS]
        if not requests:
            return f"no series {source.selector}"
        if any(not series.pod for series in requests):
            label = " or ".join(source.profile.status.label)
            return f"no series {source.profile.counter} with the label {label}, by which errors are told,"
        judged = braced([one_of(label, values) for label, values in source.profile.verdict.items()])
        return (
            f"only the pods' own proxies have counted requests: there is no series {source.profile.counter}{judged}, "
            "by which a gateway or a caller's proxy is judged,"
        )

    def read_parts(self, since: datetime, until: datetime) -> Iterator[Samples]:
        """Yield the samples scraped after `since`, up to `until`, part by part; a part reaches back into the last."""
        start = since
        while start < until:
            end = min(start + _PART, until)
            yield self._samples(max(start - _OVERLAP, since), end)
            start = end

    def increase(self, counter: str, since: datetime) -> float:
        """Return by how much a selector's counters have grown since a moment; 0 where it has no series.

        Raises as `read` does.
        """
        result = self._api.samples(Selector.parse(counter).promql, since, datetime.now(UTC), timeout=self._timeout)
        pairs = ((_counter(counter, sampled.labels), sampled) for sampled in result.series)
        growth, _ = increase(
            CounterState(), Samples.of((series, sampled.times, sampled.values) for series, sampled in pairs)
        )
        return float(growth.amount.sum())

    def _samples(self, since: datetime, until: datetime) -> Samples:
        known_targets = frozenset(self._sources[0].targets)
        result, parts = self._read_source(since, until)
        warnings = result.warnings
        if self._pod_metrics is not None:
            own = self._api.samples(self._pod_metrics.query, since, until, timeout=self._timeout)
            parts += [
                (series, sampled.times, sampled.values) for series, sampled in self._pod_metrics.select(own.series)
            ]
            warnings = tuple(dict.fromkeys((*warnings, *own.warnings)))
        targets = self._sources[0].targets
        fresh = {target: targets[target] for target in targets.keys() - known_targets} if known_targets else {}
        started = self._start_times(fresh, until)
        return Samples.of(parts, since=since.timestamp(), started=started, warnings=warnings)

    def _read_source(self, since: datetime, until: datetime) -> tuple[QueryResult, list[tuple[Series, Floats, Floats]]]:
        """Return the series of the first profile that the server has some of, which is read alone from then on."""
        first, *others = self._sources
        limit = self._timeout / len(self._sources)
        result = self._api.samples(first.selector, since, until, timeout=limit)
        parts = list(first.read(result.series))
        if has_requests := _has_requests(parts):
            self._sources = (first,)
        for source in () if has_requests else others:
            try:
                fallback = self._api.samples(source.selector, since, until, timeout=limit)
            except UnavailableError:  # a server before Prometheus 3 refuses names in quotes
                continue
            if _has_requests(read := list(source.read(fallback.series))):
                self._sources = (source,)
                return fallback, read
        return result, parts

    def _start_times(self, fresh: Mapping[str, tuple[str, str]], now: datetime) -> dict[str, float]:
        """Return when the processes behind targets that are new to this reader started, as far as that is known."""
        instances = sorted({instance for instance, _ in fresh.values() if instance})[:_MOST_TARGETS]
        if not instances:
            return {}
        query = braced([matching("__name__", [_STARTED]), one_of("instance", instances)])
        try:
            results = self._api.instant(query, now, timeout=self._timeout)
        except UnavailableError:
            return {}
        starts: dict[tuple[str | None, str | None], float] = {}
        for sampled in results.series:  # the earliest, as an application's own may be among them, and restart by itself
            place, start = (sampled.labels.get("instance"), sampled.labels.get("job")), float(sampled.values[-1])
            starts[place] = min(start, starts.get(place, start))
        return {target: starts[place] for target, place in fresh.items() if place in starts}


def _with_fallbacks(name: str) -> Iterator[Profile]:
    while name:
        yield (profile := load_profile(name))
        name = profile.fallback


_TARGET_LABELS: Final = ("instance", "job", "pod", "namespace", "cluster", "container", "endpoint", "service", "node")
"""Labels that a scrape gives to all series of its target, whatever is counted."""


def _counter(name: str, labels: Mapping[str, str]) -> Series:
    proxy, scraper = (
        ",".join(f"{label}={labels[label]}" for label in of if label in labels)
        for of in (_TARGET_LABELS, SCRAPER_LABELS)
    )
    own = ",".join(
        f"{label}={value}" for label, value in sorted(labels.items()) if label not in (*_TARGET_LABELS, *SCRAPER_LABELS)
    )
    return Series("", "", name, target=f"{proxy},{scraper}", proxy=proxy, labels=own)


def _has_requests(parts: list[tuple[Series, Floats, Floats]]) -> bool:
    return any(series.metric == REQUESTS for series, _, _ in parts)


def _has_gateway(samples: Samples) -> bool:
    """Return whether a gateway has counted requests, and says how they were answered."""
    return any(not series.pod and series.metric == REQUESTS and series.answer for series in samples.series)
