"""What a source's series mean, by its profile: whose requests they count, and how those were answered."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import translate
from functools import cache
from typing import Final

from analysis.samples import BUCKET, COUNT, NO_EDGE, REQUESTS, SUM, UNKNOWN, Floats, Series
from backends.profiles.profile import Matchers, Profile
from backends.profiles.template import Pattern, escaped, filled, names_in
from backends.prometheus.answers import SampledSeries
from backends.prometheus.matchers import fits, none_of, one_of, selector
from backends.prometheus.native import classic, power_edges
from rollout.answers import answer_of
from rollout.errors import PlanError
from rollout.model import Track

_SUFFIXES: Final = {"_bucket": BUCKET, "_sum": SUM, "_count": COUNT}
_NATIVE: Final = "native"
"""The metric of a whole histogram."""
_CLASS: Final = re.compile(r"([1-5])(xx)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose requests are looked for."""

    service: str
    versions: Mapping[Track, str]
    namespace: str = ""
    """Empty where it is not known."""
    destinations: Mapping[Track, str] = field(default_factory=dict)
    """The tracks' own Services, where they have them."""
    subsets: Mapping[Track, str] = field(default_factory=dict)
    """The tracks' subsets, where they have them."""

    def names(self, track: Track) -> dict[str, str]:
        """Return what a template's names stand for."""
        return {
            "service": self.service,
            "namespace": self.namespace,
            "version": self.versions[track],
            "track": str(track),
            "destination": self.destinations.get(track, ""),
            "subset": self.subsets.get(track, ""),
        }


@dataclass(frozen=True, slots=True)
class _Tracks:
    """Which values of a label are which track's."""

    patterns: tuple[tuple[Pattern, str], ...]
    """The most particular first."""

    @classmethod
    def of(cls, profile: Profile, subject: Subject) -> _Tracks:
        label = profile.track
        templates = {Track.STABLE: label.stable or label.value, Track.CANARY: label.canary or label.value}
        known = [
            (pattern, str(track))
            for track in subject.versions
            for text in templates.get(track, label.value)
            if (pattern := filled(text, subject.names(track)))
        ]
        known += [(Pattern(escaped(text), len(text)), UNKNOWN) for text in label.unknown]
        return cls(tuple(sorted(known, key=lambda entry: -entry[0].fixed)))

    def track_of(self, value: str) -> str | None:
        """Return whose a value is; None when it is nobody's here."""
        return next((track for pattern, track in self.patterns if re.fullmatch(pattern.regex, value)), None)


class ProfileSeries:
    """The series of one service's tracks, as one source counts them.

    Parameters
    ----------
    profile
        Where the source has what.
    subject
        Whose requests are looked for.

    Raises
    ------
    PlanError
        When the profile tells tracks apart by a name that is not known here.
    """

    def __init__(self, profile: Profile, subject: Subject) -> None:
        self.profile = profile
        self._subject = subject
        self._tracks = _Tracks.of(profile, subject)
        self._services = _regexes(profile.service.value, subject) if profile.service else ()
        _check_names(profile, subject, self._tracks, self._services)
        own = re.compile("|".join(map(translate, _own_labels(profile))))
        self._is_own = cache(lambda name: own.fullmatch(name) is not None)
        self._edges = profile.edges or power_edges(profile.to_ms)
        self._metrics = {f"{profile.durations}{suffix}": metric for suffix, metric in _SUFFIXES.items()}
        self._metrics |= {profile.durations: _NATIVE} | ({profile.requests: REQUESTS} if profile.requests else {})
        self._known: dict[str, tuple[Series, ...]] = {}
        """What each series means; a server has the same ones at every look."""
        self.places: dict[str, tuple[str, str]] = {}
        """Instance and job of each target that was read so far."""
        self._is_native: dict[str, bool] = {}
        """Which form of histogram each target is read by, where it has both."""

    @property
    def selector(self) -> str:
        """The series in PromQL."""
        profile, subject = self.profile, self._subject
        matchers = [fits("__name__", (*map(escaped, self._metrics),))]
        if profile.service and len(profile.service.label) == 1:
            matchers.append(fits(profile.service.label[0], self._services))
        elif len(profile.track.label) == 1:
            matchers.append(fits(profile.track.label[0], (pattern.regex for pattern, _ in self._tracks.patterns)))
        if len(profile.namespace) == 1 and subject.namespace:
            matchers.append(one_of(profile.namespace[0], [subject.namespace]))
        matchers += [one_of(label, values) for label, values in profile.where.items()]
        matchers += [none_of(label, values) for label, values in profile.without.items()]
        return selector(matchers)

    def series_of(self, labels: Mapping[str, str], identity: str = "") -> Series | None:
        """Return what a series counts, named apart from others by its identity; None when it is none of ours."""
        profile = self.profile
        metric, track = (
            self._metrics.get(labels.get("__name__", "")),
            self._tracks.track_of(_first(labels, profile.track.label)),
        )
        edge = _edge(labels.get("le", ""), profile.to_ms) if metric == BUCKET else NO_EDGE
        if metric is None or track is None or edge is None or not self._is_ours(labels):
            return None
        counts_requests = profile.requests is None and metric in (COUNT, _NATIVE)
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
            labels=identity,
        )

    def target_of(self, labels: Mapping[str, str]) -> str:
        """Return what a series was scraped from."""
        return _text(self._target(labels))

    def read(self, sampled: Iterable[SampledSeries]) -> Iterator[tuple[Series, Floats, Floats]]:
        """Yield the series that are ours with their times and values, durations in ms.

        Where a target has its durations as a classic and as a native histogram, the classic one is read.
        """
        ours = [(meant, one) for one in sampled if (meant := self._meant(one))]
        self._choose_forms(ours)
        for meant, one in ours:
            metric = meant[0].metric
            if metric != REQUESTS and (metric == _NATIVE) != self._is_native.get(meant[0].target, False):
                continue
            if metric == _NATIVE:
                yield from self._native(meant[0], one)
            elif metric == SUM:
                yield meant[0], one.times, one.values * self.profile.to_ms
            else:
                for series in meant:
                    yield series, one.times, one.values

    def _choose_forms(self, ours: list[tuple[tuple[Series, ...], SampledSeries]]) -> None:
        """Settle by which form of histogram each target that is new is read, which it is ever after."""
        metrics: dict[str, set[bool]] = {}
        for (series, *_), one in ours:
            if series.metric != REQUESTS and series.target not in self._is_native:
                metrics.setdefault(series.target, set()).add(series.metric == _NATIVE and bool(one.histograms))
        self._is_native |= {target: False not in forms for target, forms in metrics.items()}

    def _native(self, series: Series, one: SampledSeries) -> Iterator[tuple[Series, Floats, Floats]]:
        if one.histograms:
            for metric, edge, times, values in classic(one, self._edges, self.profile.to_ms):
                for meant in self._with_requests(series._replace(metric=metric, le=edge)):
                    yield meant, times, values

    def _with_requests(self, series: Series) -> tuple[Series, ...]:
        """Return what a series means: where requests have no counter of their own, a count counts them too."""
        if series.metric == REQUESTS or not series.answer:
            return (series,)
        plain = series._replace(answer="")
        return (plain, series._replace(metric=REQUESTS)) if series.metric == COUNT else (plain,)

    def _meant(self, one: SampledSeries) -> tuple[Series, ...]:
        if (known := self._known.get(one.identity)) is not None:
            return known
        meant: tuple[Series, ...] = ()
        if (series := self.series_of(one.labels, one.identity)) is not None:
            meant = (series,) if series.metric == _NATIVE else self._with_requests(series)
            self.places[series.target] = (one.labels.get("instance", ""), one.labels.get("job", ""))
        self._known[one.identity] = meant
        return meant

    def _is_ours(self, labels: Mapping[str, str]) -> bool:
        """Return whether a label that has several names says what it must; the selector cannot ask for such a one."""
        service, namespaces, namespace = self.profile.service, self.profile.namespace, self._subject.namespace
        if service and len(service.label) > 1 and not _fits(_first(labels, service.label), self._services):
            return False
        return len(namespaces) < 2 or not namespace or _first(labels, namespaces) in ("", namespace)

    def _answer(self, labels: Mapping[str, str]) -> str:
        status = self.profile.status
        code = _first(labels, status.label) or status.missing
        if is_class := _CLASS.fullmatch(code):
            code = f"{is_class[1]}00"
        return answer_of(code, _first(labels, status.flags), _first(labels, status.grpc))

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


def _check_names(profile: Profile, subject: Subject, tracks: _Tracks, services: tuple[str, ...]) -> None:
    """Raise PlanError where a track, or the service, is told by a name that is not known here."""
    told = {track for _, track in tracks.patterns}
    if all(str(track) in told for track in subject.versions) and (services or not profile.service):
        return
    templates = (*profile.track.templates, *(profile.service.value if profile.service else ()))
    unknown = {
        name
        for text in templates
        for name in names_in(text)
        if not all(subject.names(t)[name] for t in subject.versions)
    }
    if "namespace" in unknown and not subject.namespace:
        raise PlanError("metrics.namespace: missing, it has to be given: this profile tells the tracks apart with it")
    listed = " or ".join(f"{{{name}}}" for name in sorted(unknown))
    raise PlanError(f"metrics.profile: got one that tells the tracks apart by {listed}, allowed here: one without")


def _regexes(templates: Iterable[str], subject: Subject) -> tuple[str, ...]:
    """Return the patterns of templates whose names are known, of all tracks."""
    patterns = (filled(text, subject.names(track)) for text in templates for track in subject.versions)
    return tuple(dict.fromkeys(pattern.regex for pattern in patterns if pattern))


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
