"""The plan's own metrics, as the pods' scrapes hold them, and whose they are.

A series is a track's when its `version` label says so and its `app` label, where there is one, names the service; the
labels that Kubernetes recommends, `app.kubernetes.io/version` and `/name` or `/instance`, do as well. What is scraped
of a node and not of a pod, such as cAdvisor's memory, has no such labels: there the pod's name tells, which a
Deployment begins with its own, `<service>-<version>-`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from re import escape
from typing import Final

from analysis.scrapes.samples import Series
from backends.prometheus.api import SampledSeries
from rollout.selectors import Matcher, Operator, Selector, braced

_PAUSE: Final = "POD"
"""cAdvisor's name of the container that holds a pod's network: no part of what it uses."""
_PODS: Final = ("exported_pod", "pod", "kubernetes_pod_name")
"""Labels that name a pod; what an exporter measures comes before the exporter's own."""
_VERSION: Final = "app_kubernetes_io_version"
_SERVICES: Final = ("app", "app_kubernetes_io_name", "app_kubernetes_io_instance")
"""Labels one of which has to name the service where `version` is not there to say whose a series is."""
_SCRAPER: Final = ("prometheus", "prometheus_replica", "replica", "__replica__", "receive_replica")
"""Labels of who scraped: two that differ in these alone read the same target."""
_OF_TARGETS: Final = frozenset({"instance", *_PODS, "job", *_SCRAPER})


@dataclass(frozen=True)
class PodMetrics:
    """Which series to read, and of which service's pods.

    `metrics` are selectors in PromQL; `tracks` are by version; `labels` are further ones that a series must have, such
    as its namespace.
    """

    metrics: tuple[str, ...]
    service: str
    tracks: Mapping[str, str]
    labels: Mapping[str, str]
    _places: dict[str, tuple[int, ...]] = field(default_factory=dict, compare=False, repr=False)
    """Which of the selectors select each series; a server has the same series at every look."""

    @cached_property
    def selectors(self) -> tuple[Selector, ...]:
        """The metrics as they were parsed."""
        return tuple(map(Selector.parse, self.metrics))

    @property
    def query(self) -> str:
        """All of their series in one PromQL selector, which may have some more."""
        names = _either(selector.metric for selector in self.selectors)
        return braced([Matcher("__name__", Operator.MATCH, names), *_shared(self.selectors), *self._ours])

    def query_of(self, metric: str) -> str:
        """Return one of the metrics in PromQL, whatever pods its series are of."""
        return Selector.parse(metric).where(self._labels).promql

    @property
    def _ours(self) -> tuple[Matcher, ...]:
        """Matchers that leave out no series of the service's pods, as far as a server can tell them."""
        return (Matcher("version", Operator.MATCH, f"({_either(self.tracks)})?"), *self._labels)

    @property
    def _labels(self) -> tuple[Matcher, ...]:
        return tuple(Matcher(label, Operator.EQUAL, value) for label, value in self.labels.items())

    def owner(self, labels: Mapping[str, str]) -> tuple[str, str] | None:
        """Return the track and the pod that a series is of, or None when it is none of ours."""
        track, pod = self.track_of(labels), self.pod_of(labels)
        return (track, pod) if track and pod else None

    def track_of(self, labels: Mapping[str, str]) -> str | None:
        """Return whose a series is, or None when it is none of ours."""
        if track := self._track_by_name(labels.get("exported_pod", "")):
            return track
        if "version" in labels:
            return self.tracks.get(labels["version"]) if labels.get("app", self.service) == self.service else None
        if self.service in (labels.get(name) for name in _SERVICES) and (
            track := self.tracks.get(labels.get(_VERSION, ""))
        ):
            return track
        return next(filter(None, (self._track_by_name(labels.get(name, "")) for name in _PODS)), None)

    def _track_by_name(self, pod: str) -> str | None:
        versions = [version for version in self.tracks if pod.startswith(f"{self.service}-{version}-")]
        return self.tracks[max(versions, key=len)] if versions else None

    def pod_of(self, labels: Mapping[str, str]) -> str:
        """Return the name of the pod that a series speaks of; where none is given, that of what was scraped."""
        names = [labels[name] for name in (*_PODS, "instance") if labels.get(name)]
        return next(filter(self._track_by_name, names), labels.get("pod") or next(iter(names), ""))

    def meant(self, answer: Sequence[SampledSeries]) -> Iterator[tuple[Series, SampledSeries]]:
        """Yield the series that are ours, under the text of each selector that selects them."""
        ours = [_Ours(one, *owner) for one in answer if len(one.times) and (owner := self.owner(one.labels))]
        selected: list[list[_Ours]] = [[] for _ in self.metrics]
        for one in ours:
            for place in self._selecting(one.sampled):
                selected[place].append(one)
        for metric, series in zip(self.metrics, selected, strict=True):
            for one in _counted_once(series):
                yield one.named(metric), one.sampled

    def _selecting(self, series: SampledSeries) -> tuple[int, ...]:
        if series.identity not in self._places:
            self._places[series.identity] = tuple(
                place for place, selector in enumerate(self.selectors) if selector.selects(series.labels)
            )
        return self._places[series.identity]


def _shared(selectors: Sequence[Selector]) -> Iterator[Matcher]:
    """Yield matchers that every series of any of the selectors passes: a server then sends fewer that nobody wants."""
    for matcher in selectors[0].matchers:
        if all(matcher in each.matchers for each in selectors):
            yield matcher
        elif matcher.operator is Operator.EQUAL:
            values = [
                {one.label: one.value for one in each.matchers if one.operator is Operator.EQUAL} for each in selectors
            ]
            if all(matcher.label in each for each in values):
                yield Matcher(matcher.label, Operator.MATCH, _either(each[matcher.label] for each in values))


def _either(values: Iterable[str]) -> str:
    return "|".join(dict.fromkeys(map(escape, values)))


@dataclass(frozen=True, slots=True)
class _Ours:
    """A series of one of the service's pods."""

    sampled: SampledSeries
    track: str
    pod: str

    @property
    def container(self) -> str:
        return self.sampled.labels.get("container", "")

    def named(self, metric: str) -> Series:
        """Return the series as one of a metric.

        What is scraped in one go is told by target, pod and scraper; the same target that two jobs or two Prometheis
        scrape is one and the same count.
        """
        labels = self.sampled.labels
        place = _values(labels, ("instance", *_PODS))
        target = f"own {place},{_values(labels, ('job', *_SCRAPER))}"
        own = ",".join(f"{name}={value}" for name, value in sorted(labels.items()) if name not in _OF_TARGETS)
        return Series(self.track, self.pod, metric, target=target, proxy=f"own {place}", labels=own)


def _values(labels: Mapping[str, str], names: Iterable[str]) -> str:
    return ",".join(labels.get(name, "") for name in names)


def _counted_once(series: Sequence[_Ours]) -> Iterator[_Ours]:
    """Yield series of one metric; cAdvisor counts a pod's containers each, and all of them once more."""
    by_container = {one.pod for one in series if one.container not in ("", _PAUSE)}
    for one in series:
        if one.container != _PAUSE and (one.container or one.pod not in by_container):
            yield one
