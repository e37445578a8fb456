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
_POD_LABELS: Final = ("exported_pod", "pod", "kubernetes_pod_name")
"""Labels that name a pod; what an exporter measures comes before the exporter's own."""
_VERSION_LABEL: Final = "app_kubernetes_io_version"
_SERVICE_LABELS: Final = ("app", "app_kubernetes_io_name", "app_kubernetes_io_instance")
"""Labels one of which has to name the service where `version` is not there to say whose a series is."""
SCRAPER_LABELS: Final = ("prometheus", "prometheus_replica", "replica", "__replica__", "receive_replica")
"""Labels of who scraped: two that differ in these alone read the same counter."""
_TARGET_LABELS: Final = frozenset({"instance", *_POD_LABELS, "job", *SCRAPER_LABELS})


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
    _selected_by: dict[str, tuple[int, ...]] = field(default_factory=dict, compare=False, repr=False)
    """Which of the selectors select each series; a server has the same series at every look."""

    @cached_property
    def selectors(self) -> tuple[Selector, ...]:
        """The metrics as they were parsed."""
        return tuple(map(Selector.parse, self.metrics))

    @property
    def query(self) -> str:
        """All of their series in one PromQL selector, which may have some more."""
        names = _alternatives(selector.metric for selector in self.selectors)
        return braced(
            [Matcher("__name__", Operator.MATCH, names), *_shared_matchers(self.selectors), *self._pod_matchers]
        )

    def query_of(self, metric: str) -> str:
        """Return one of the metrics in PromQL, whatever pods its series are of."""
        return Selector.parse(metric).where(self._label_matchers).promql

    @property
    def _pod_matchers(self) -> tuple[Matcher, ...]:
        """Matchers that leave out no series of the service's pods, as far as a server can tell them."""
        return (Matcher("version", Operator.MATCH, f"({_alternatives(self.tracks)})?"), *self._label_matchers)

    @property
    def _label_matchers(self) -> tuple[Matcher, ...]:
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
        if self.service in (labels.get(name) for name in _SERVICE_LABELS) and (
            track := self.tracks.get(labels.get(_VERSION_LABEL, ""))
        ):
            return track
        return next(filter(None, (self._track_by_name(labels.get(name, "")) for name in _POD_LABELS)), None)

    def _track_by_name(self, pod: str) -> str | None:
        versions = [version for version in self.tracks if pod.startswith(f"{self.service}-{version}-")]
        return self.tracks[max(versions, key=len)] if versions else None

    def pod_of(self, labels: Mapping[str, str]) -> str:
        """Return the name of the pod that a series speaks of; where none is given, that of what was scraped."""
        names = [labels[name] for name in (*_POD_LABELS, "instance") if labels.get(name)]
        return next(filter(self._track_by_name, names), labels.get("pod") or next(iter(names), ""))

    def select(self, answer: Sequence[SampledSeries]) -> Iterator[tuple[Series, SampledSeries]]:
        """Yield the series that are ours, under the text of each selector that selects them."""
        pod_series = [
            _PodSeries(sampled, *owner)
            for sampled in answer
            if len(sampled.times) and (owner := self.owner(sampled.labels))
        ]
        selected: list[list[_PodSeries]] = [[] for _ in self.metrics]
        for sampled in pod_series:
            for place in self._selecting(sampled.sampled):
                selected[place].append(sampled)
        for metric, series in zip(self.metrics, selected, strict=True):
            for sampled in _counted_once(series):
                yield sampled.named(metric), sampled.sampled

    def _selecting(self, series: SampledSeries) -> tuple[int, ...]:
        if series.identity not in self._selected_by:
            self._selected_by[series.identity] = tuple(
                place for place, selector in enumerate(self.selectors) if selector.selects(series.labels)
            )
        return self._selected_by[series.identity]


def _shared_matchers(selectors: Sequence[Selector]) -> Iterator[Matcher]:
    """Yield matchers that every series of any of the selectors passes: a server then sends fewer that nobody wants."""
    for matcher in selectors[0].matchers:
        if all(matcher in selector.matchers for selector in selectors):
            yield matcher
        elif matcher.operator is Operator.EQUAL:
            values = [
                {other.label: other.value for other in selector.matchers if other.operator is Operator.EQUAL}
                for selector in selectors
            ]
            if all(matcher.label in selector for selector in values):
                yield Matcher(
                    matcher.label, Operator.MATCH, _alternatives(selector[matcher.label] for selector in values)
                )


def _alternatives(values: Iterable[str]) -> str:
    return "|".join(dict.fromkeys(map(escape, values)))


@dataclass(frozen=True, slots=True)
class _PodSeries:
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
        place = _values(labels, ("instance", *_POD_LABELS))
        target = f"own {place},{_values(labels, ('job', *SCRAPER_LABELS))}"
        own = ",".join(f"{name}={value}" for name, value in sorted(labels.items()) if name not in _TARGET_LABELS)
        return Series(self.track, self.pod, metric, target=target, proxy=f"own {place}", labels=own)


def _values(labels: Mapping[str, str], names: Iterable[str]) -> str:
    return ",".join(labels.get(name, "") for name in names)


def _counted_once(series: Sequence[_PodSeries]) -> Iterator[_PodSeries]:
    """Yield series of one metric; cAdvisor counts a pod's containers each, and all of them once more."""
    by_container = {pod_series.pod for pod_series in series if pod_series.container not in ("", _PAUSE)}
    for pod_series in series:
        if pod_series.container != _PAUSE and (pod_series.container or pod_series.pod not in by_container):
            yield pod_series
