"""The plan's own metrics, as the pods' scrapes hold them, and whose they are.

A series is a track's when its `version` label says so and its `app` label, where there is one, names the service. What
is scraped of a node and not of a pod, such as cAdvisor's memory, has no such labels: there the pod's name tells, which
a Deployment begins with its own, `<service>-<version>-`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from analysis.samples import Series
from backends.prometheus.api import SampledSeries

_PAUSE = "POD"
"""cAdvisor's name of the container that holds a pod's network: no part of what it uses."""


@dataclass(frozen=True, slots=True)
class PodMetrics:
    """Which metrics to read, and of which service's pods.

    `tracks` are by version; `labels` are further ones that a series must have, such as its namespace.
    """

    metrics: tuple[str, ...]
    service: str
    tracks: Mapping[str, str]
    labels: Mapping[str, str]

    @property
    def selector(self) -> str:
        """The series in PromQL, those of other services' pods included."""
        matchers = [f'__name__=~"{"|".join(self.metrics)}"', 'pod!=""']
        return "{" + ", ".join([*matchers, *(f'{label}="{value}"' for label, value in self.labels.items())]) + "}"

    def track_of(self, labels: Mapping[str, str]) -> str | None:
        """Return whose a series is, or None when it is none of ours."""
        if "version" in labels:
            return self.tracks.get(labels["version"]) if labels.get("app", self.service) == self.service else None
        named = [v for v in self.tracks if labels.get("pod", "").startswith(f"{self.service}-{v}-")]
        return self.tracks[max(named, key=len)] if named else None

    def meant(self, answer: Sequence[SampledSeries]) -> Iterator[tuple[Series, SampledSeries]]:
        """Yield the series that are ours; cAdvisor counts a pod's containers each, and all of them once more."""
        ours = [(one, track) for one in answer if (track := self.track_of(one.labels)) and one.labels.get("pod")]
        by_container = {_of_pod(one.labels) for one, _ in ours if one.labels.get("container", "") not in ("", _PAUSE)}
        for one, track in ours:
            container = one.labels.get("container", "")
            if container == _PAUSE or (not container and _of_pod(one.labels) in by_container):
                continue
            pod, target = one.labels["pod"], ",".join(one.labels.get(name, "") for name in ("instance", "job", "pod"))
            metric = one.labels.get("__name__", "")
            yield Series(track, pod, metric, target=f"own {target}", proxy=f"own {target}", labels=one.identity), one


def _of_pod(labels: Mapping[str, str]) -> tuple[str, str]:
    return labels["pod"], labels.get("__name__", "")
