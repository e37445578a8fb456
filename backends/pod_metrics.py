"""The plan's own metrics, as the pods' scrapes hold them: whose they are, and the tidy frame of them.

A series is a track's when its `version` label says so and its `app` label, where there is one, names the service. What
is scraped of a node and not of a pod, such as cAdvisor's memory, has no such labels: there the pod's name tells, which
a Deployment begins with its own, `<service>-<version>-`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

_ROLE = ["time", "track", "pod", "metric"]


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
        named = [v for v in self.tracks if labels["pod"].startswith(f"{self.service}-{v}-")]
        return self.tracks[max(named, key=len)] if named else None

    def frame(self, found: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
        """Return the samples of Prometheus' answer as the tidy frame: one value a pod, its series added up."""
        rows = [
            (float(time), track, one["metric"]["pod"], one["metric"]["__name__"], float(value), _container(one))
            for one in found
            if (track := self.track_of(one["metric"])) is not None
            for time, value in one["values"]
        ]
        samples = pd.DataFrame(rows, columns=[*_ROLE, "value", "container"]).dropna(subset="value")
        named = samples[samples["container"] != ""]
        # cAdvisor counts a pod's containers each, and all of them once more.
        both = pd.MultiIndex.from_frame(samples[_ROLE]).isin(pd.MultiIndex.from_frame(named[_ROLE]))
        kept = samples[(~both) | (samples["container"] != "")]
        kept = kept[kept["container"] != "POD"]
        totals: pd.DataFrame = kept.groupby(_ROLE, as_index=False, sort=True)["value"].sum().assign(le=np.nan)
        return totals


def _container(series: Mapping[str, Any]) -> str:
    return str(series["metric"].get("container", ""))
