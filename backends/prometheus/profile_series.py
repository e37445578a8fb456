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
from backends.profiles.template import escaped
from backends.prometheus.matchers import fits, none_of, one_of, selector
from backends.prometheus.native_histograms import classic, power_edges
from backends.prometheus.query_answers import SampledSeries
from backends.prometheus.subject import Subject, Tracks, check_names, regexes
from rollout.answers import answer_of
from rollout.errors import PlanError

_SUFFIXES: Final = {"_bucket": BUCKET, "_sum": SUM, "_count": COUNT}
_NATIVE: Final = "native"
"""The metric of a whole histogram."""
_UPGRADED: Final = "101"
"""The status of a connection that became another, such as a web socket: how long it stays open is no latency."""
_NO_NAMESPACE: Final = frozenset({"", "unknown"})
_CLASS: Final = re.compile(r"([1-5])(xx)?", re.IGNORECASE)


class _Form(Enum):
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
        self._tracks = Tracks.of(profile, subject)
        self._track_of = cache(self._tracks.track_of)
        self._services = regexes(profile.service.value, subject) if profile.service else ()
        check_names(profile, subject, self._tracks, self._services)
        own = re.compile("|".join(map(translate, _own_labels(profile))))
        self._is_own = cache(lambda name: own.fullmatch(name) is not None)
        self._edges = profile.edges or power_edges(profile.to_ms)
        self._metrics = {f"{profile.durations}{suffix}": metric for suffix, metric in _SUFFIXES.items()}
        self._metrics |= {profile.durations: _NATIVE} | ({profile.requests: REQUESTS} if profile.requests else {})
        self._known: dict[str, tuple[_Form, tuple[Series, ...]]] = {}
        """What each series means; a server has the same ones at every look."""
        self.places: dict[str, tuple[str, str]] = {}
        """Instance and job of each target that was read so far."""
        self._namespaces: set[str] = set()
        """Where the series lie that were read so far, as long as it is not known whose are meant."""
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
        known = self._known
        if fresh := [one for one in sampled if one.identity not in known]:
            self._learn(fresh)
        for one in sampled:
            form, meant = known[one.identity]
            if form is _Form.NATIVE:
                yield from self._native(meant[0], one)
                continue
            values = one.values * self.profile.to_ms if form is _Form.SCALED else one.values
            for series in meant:
                yield series, one.times, values

    def _learn(self, fresh: Sequence[SampledSeries]) -> None:
        """Keep what series mean that were not met before."""
        named = [(self.series_of(one.labels), one) for one in fresh]
        ours = [(series, one) for series, one in named if series is not None]
        forms: dict[str, set[bool]] = {}
        for series, one in ours:
            self.places[series.target] = (one.labels.get("instance", ""), one.labels.get("job", ""))
            if series.metric != REQUESTS and series.target not in self._is_native:
                forms.setdefault(series.target, set()).add(series.metric == _NATIVE and bool(one.histograms))
        self._check_namespace(one.labels for _, one in ours)
        self._is_native |= {target: False not in found for target, found in forms.items()}
        self._known |= {one.identity: (_Form.PLAIN, ()) for one in fresh}
        self._known |= {one.identity: self._meant(series) for series, one in ours}

    def _check_namespace(self, ours: Iterable[Mapping[str, str]]) -> None:
        """Raise PlanError where it is not known whose namespace is meant, and there are several."""
        if self._subject.namespace:
            return
        self._namespaces |= {_first(labels, self.profile.namespace) for labels in ours} - _NO_NAMESPACE
        if len(self._namespaces) > 1:
            service, listed = self._subject.service, ", ".join(sorted(self._namespaces))
            raise PlanError(f"metrics.namespace: missing, {service} has requests in several, allowed: one of {listed}")

    def _meant(self, series: Series) -> tuple[_Form, tuple[Series, ...]]:
        if series.metric == REQUESTS:
            return _Form.PLAIN, (series,)
        if (series.metric == _NATIVE) != self._is_native[series.target]:
            return _Form.PLAIN, ()
        if series.metric == _NATIVE:
            return _Form.NATIVE, (series,)
        is_scaled = series.metric == SUM and self.profile.to_ms != 1.0
        return _Form.SCALED if is_scaled else _Form.PLAIN, self._with_requests(series)

    def _native(self, series: Series, one: SampledSeries) -> Iterator[tuple[Series, Floats, Floats]]:
        if one.histograms:
            for metric, edge, times, values in classic(one, self._edges, self.profile.to_ms):
                for meant in self._with_requests(series._replace(metric=metric, le=edge)):
                    yield meant, times, values

    def _with_requests(self, series: Series) -> tuple[Series, ...]:
        """Return what a duration's series means: where requests have no counter of their own, a count is theirs too."""
        plain = series._replace(answer="")
        return (plain, series._replace(metric=REQUESTS)) if series.answer and series.metric == COUNT else (plain,)

    def _is_ours(self, labels: Mapping[str, str]) -> bool:
        """Return whether a label that has several names says what it must; the selector cannot ask for such a one."""
        service, namespaces, namespace = self.profile.service, self.profile.namespace, self._subject.namespace
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
