"""What a source's series mean, by its profile: whose requests they count, and how those were answered."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum, auto
from fnmatch import translate
from functools import cache
from typing import Final

from analysis.scrapes.samples import BUCKET, COUNT, NO_EDGE, REQUESTS, SUM, Floats, Series
from backends.profiles.source_profile import Matchers, Profile
from backends.profiles.template import escape_regex
from backends.prometheus.matchers import matching, none_of, one_of
from backends.prometheus.native_histograms import as_classic, power_edges
from backends.prometheus.query_results import SampledSeries
from backends.prometheus.service_names import ServiceNames, TrackPatterns, check_names, regexes
from rollout.answers import answer_of
from rollout.errors import PlanError
from rollout.selectors import braced

_SUFFIXES: Final = {"_bucket": BUCKET, "_sum": SUM, "_count": COUNT}
_NATIVE: Final = "native"
"""The metric of a whole histogram."""
_UPGRADED: Final = "101"
"""The status of a connection that became another, such as a web socket: how long it stays open is no latency."""
_NO_NAMESPACE: Final = frozenset({"", "unknown"})
_CLASS: Final = re.compile(r"([1-5])(xx)?", re.IGNORECASE)


class _Reading(Enum):
    """How a series is read."""

    PLAIN = auto()
    SCALED = auto()
    """In the profile's unit of durations."""
    NATIVE = auto()


class ProfileSeries:
    """The series of one service's tracks, as one source counts them.

    Parameters
    ----------
    profile
        Where the source has what.
    names
        What the service and its tracks are called.

    Raises
    ------
    PlanError
        When the profile tells tracks apart by a name that is not known here.
    """

    def __init__(self, profile: Profile, names: ServiceNames) -> None:
        self.profile = profile
        self._names = names
        self._tracks = TrackPatterns.of(profile, names)
        self._track_of = cache(self._tracks.track_of)
        self._services = regexes(profile.service.value, names) if profile.service else ()
        check_names(profile, names, self._tracks, self._services)
        own = re.compile("|".join(map(translate, _own_labels(profile))))
        self._is_own = cache(lambda name: own.fullmatch(name) is not None)
        self._edges = profile.edges or power_edges(profile.to_ms)
        self._metrics = {f"{profile.durations}{suffix}": metric for suffix, metric in _SUFFIXES.items()}
        self._metrics |= {profile.durations: _NATIVE} | ({profile.requests: REQUESTS} if profile.requests else {})
        self._readings: dict[str, tuple[_Reading, tuple[Series, ...]]] = {}
        """What each series means; a server has the same ones at every look."""
        self.targets: dict[str, tuple[str, str]] = {}
        """Instance and job of each target that was read so far."""
        self._namespaces: set[str] = set()
        """Where the series lie that were read so far, as long as it is not known whose are meant."""
        self._is_native: dict[str, bool] = {}
        """Which form of histogram each target is read by, where it has both."""

    @property
    def selector(self) -> str:
        """The series in PromQL."""
        profile, names = self.profile, self._names
        matchers = [matching("__name__", (*map(escape_regex, self._metrics),))]
        if profile.service and len(profile.service.label) == 1:
            matchers.append(matching(profile.service.label[0], self._services))
        elif len(profile.track.label) == 1:
            matchers.append(matching(profile.track.label[0], (pattern.regex for pattern, _ in self._tracks.patterns)))
        if len(profile.namespace) == 1 and names.namespace:
            matchers.append(one_of(profile.namespace[0], [names.namespace]))
        matchers += [one_of(label, values) for label, values in profile.where.items()]
        matchers += [none_of(label, values) for label, values in profile.without.items()]
        return braced(matchers)

    def series_of(self, labels: Mapping[str, str]) -> Series | None:
        """Return what a series counts; None when it is none of ours."""
        profile = self.profile
        metric = self._metrics.get(labels.get("__name__", ""))
        track = self._track_of(_first(labels, profile.track.label))
        edge = _edge(labels.get("le", ""), profile.to_ms) if metric == BUCKET else NO_EDGE
        if metric is None or track is None or edge is None or not self._is_ours(labels):
            return None
        counts_requests = profile.requests is None and metric in (COUNT, _NATIVE)
        if metric != REQUESTS and not counts_requests and self._status(labels) == _UPGRADED:
            return None
        pod = _first(labels, profile.pods.label) if profile.pods and _has(labels, profile.pods.where) else ""
        if not pod and (not _has(labels, profile.verdict) or (profile.pods and _has(labels, profile.pods.where))):
            return None
        return Series(
            track=track,
            pod=pod,
            metric=metric,
            le=edge,
            answer=self._answer(labels) if metric == REQUESTS or counts_requests else "",
            target=self.target_of(labels),
            proxy=self._proxy(labels),
            labels=_text({name: value for name, value in labels.items() if self._is_own(name)}),
        )

    def target_of(self, labels: Mapping[str, str]) -> str:
        """Return what a series was scraped from."""
        return _text(self._target(labels))

    def read(self, sampled: Sequence[SampledSeries]) -> Iterator[tuple[Series, Floats, Floats]]:
        """Yield the series that are ours with their times and values, durations in ms.

        Where a target has its durations as a classic and as a native histogram, the classic one is read; by whichever
        it was read first it is read ever after.
        """
        readings = self._readings
        if unknown := [sample for sample in sampled if sample.identity not in readings]:
            self._add_series(unknown)
        for sample in sampled:
            reading, series_read = readings[sample.identity]
            if reading is _Reading.NATIVE:
                yield from self._native(series_read[0], sample)
                continue
            values = sample.values * self.profile.to_ms if reading is _Reading.SCALED else sample.values
            for series in series_read:
                yield series, sample.times, values

    def _add_series(self, sampled: Sequence[SampledSeries]) -> None:
        """Keep what series mean that were not met before."""
        pairs = [(self.series_of(sample.labels), sample) for sample in sampled]
        ours = [(series, sample) for series, sample in pairs if series is not None]
        is_native: dict[str, set[bool]] = {}
        for series, sample in ours:
            self.targets[series.target] = (sample.labels.get("instance", ""), sample.labels.get("job", ""))
            if series.metric != REQUESTS and series.target not in self._is_native:
                is_native.setdefault(series.target, set()).add(series.metric == _NATIVE and bool(sample.histograms))
        self._check_namespace(sample.labels for _, sample in ours)
        self._is_native |= {target: False not in kinds for target, kinds in is_native.items()}
        self._readings |= {sample.identity: (_Reading.PLAIN, ()) for sample in sampled}
        self._readings |= {sample.identity: self._reading_of(series) for series, sample in ours}

    def _check_namespace(self, ours: Iterable[Mapping[str, str]]) -> None:
        """Raise PlanError where it is not known whose namespace is meant, and there are several."""
        if self._names.namespace:
            return
        self._namespaces |= {_first(labels, self.profile.namespace) for labels in ours} - _NO_NAMESPACE
        if len(self._namespaces) > 1:
            service, listed = self._names.service, ", ".join(sorted(self._namespaces))
            raise PlanError(f"metrics.namespace: missing, {service} has requests in several, allowed: one of {listed}")

    def _reading_of(self, series: Series) -> tuple[_Reading, tuple[Series, ...]]:
        if series.metric == REQUESTS:
            return _Reading.PLAIN, (series,)
        if (series.metric == _NATIVE) != self._is_native[series.target]:
            return _Reading.PLAIN, ()
        if series.metric == _NATIVE:
            return _Reading.NATIVE, (series,)
        is_scaled = series.metric == SUM and self.profile.to_ms != 1.0
        return _Reading.SCALED if is_scaled else _Reading.PLAIN, self._with_requests(series)

    def _native(self, series: Series, sampled: SampledSeries) -> Iterator[tuple[Series, Floats, Floats]]:
        if sampled.histograms:
            for metric, edge, times, values in as_classic(sampled, self._edges, self.profile.to_ms):
                for counted in self._with_requests(series._replace(metric=metric, le=edge)):
                    yield counted, times, values

    def _with_requests(self, series: Series) -> tuple[Series, ...]:
        """Return what a duration's series means: where requests have no counter of their own, a count is theirs too."""
        plain = series._replace(answer="")
        return (plain, series._replace(metric=REQUESTS)) if series.answer and series.metric == COUNT else (plain,)

    def _is_ours(self, labels: Mapping[str, str]) -> bool:
        """Return whether a label that has several names says what it must; the selector cannot ask for such a one."""
        service, namespaces, namespace = self.profile.service, self.profile.namespace, self._names.namespace
        if service and len(service.label) > 1 and not _fits(_first(labels, service.label), self._services):
            return False
        return len(namespaces) < 2 or not namespace or _first(labels, namespaces) in ("", namespace)

    def _answer(self, labels: Mapping[str, str]) -> str:
        status = self.profile.status
        return answer_of(self._status(labels), _first(labels, status.flags), _first(labels, status.grpc))

    def _status(self, labels: Mapping[str, str]) -> str:
        code = _first(labels, self.profile.status.label) or self.profile.status.missing
        is_class = _CLASS.fullmatch(code)
        return f"{is_class[1]}00" if is_class else code

    def _target(self, labels: Mapping[str, str]) -> dict[str, str]:
        return {name: value for name, value in labels.items() if not self._is_own(name)}

    def _proxy(self, labels: Mapping[str, str]) -> str:
        """Return which proxy a series is of: its target without who scraped it, and by which port."""
        target = {name: value for name, value in self._target(labels).items() if name not in self.profile.viewers}
        if "instance" in target:
            target["instance"] = target["instance"].rpartition(":")[0] or target["instance"]
        return _text(target)


def _own_labels(profile: Profile) -> tuple[str, ...]:
    status, pods = profile.status, profile.pods
    named = (*status.label, *status.flags, *status.grpc, *profile.namespace, *profile.track.label)
    service = profile.service.label if profile.service else ()
    matched = (*profile.where, *profile.without, *profile.verdict, *(pods.where if pods else ()))
    return ("__name__", "le", *named, *service, *matched, *profile.own)


def _first(labels: Mapping[str, str], names: Iterable[str]) -> str:
    return next((labels[name] for name in names if name in labels), "")


def _fits(value: str, patterns: Iterable[str]) -> bool:
    return any(re.fullmatch(pattern, value) for pattern in patterns)


def _has(labels: Mapping[str, str], matchers: Matchers) -> bool:
    return all(labels.get(label, "") in values for label, values in matchers.items())


def _edge(le: str, to_ms: float) -> float | None:
    try:
        return round(float(le) * to_ms, 6)
    except ValueError:
        return None


def _text(labels: Mapping[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
