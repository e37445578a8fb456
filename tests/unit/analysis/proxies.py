"""Meshes whose every request is known: what proxies expose, what scrapes see of it, and what a reader can know.

Nothing here is taken from the code that reads counters. A proxy counts requests by track and answer; a counter is
exposed from its first request on, and is at zero after a restart of its proxy or after it was rotated away. A scrape
sees all that a proxy exposes at that moment. What a reader is given of this depends on who scraped, and who answers
its queries.

What can be known of a counter is what two of its samples say in the worst case that is possible:

- without a reset between them, their difference;
- with one, the later value; what was counted between the earlier sample and the reset is lost;
- A scrape has the time of its beginning, and may read the counter up to ten seconds later. Where a querier makes one
  series of two that scrape, a sample may therefore be lower than the one before it. What falls for less than ten
  seconds, and not below the sample before that one, says nothing yet: it was a step back, or a reset.
- with one after which the counter stands as high as before or higher, their difference: nothing else tells the reset.
  Scrapes of its proxy without it do, for more than four of its own intervals, when a neighbour was there.
- The first sample of a counter is its baseline. It counts where a neighbour in the same scrape was there before, in a
  scrape without it, or where the proxy has been scraped for two minutes: then it began at zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from analysis.scrapes.samples import Samples, Series
from backends.profiles.shipped import load_profile
from backends.prometheus.profile_series import ProfileSeries
from backends.prometheus.service_names import ServiceNames
from rollout.answers import COMPARED, AnswerClass
from rollout.model import Track

Floats = npt.NDArray[np.float64]
VERSIONS = {Track.STABLE: "v1", Track.CANARY: "v2"}
MEANING = ProfileSeries(load_profile("istio"), ServiceNames("shop", VERSIONS))
SETTLED, AWAY = 120.0, 4.0
SCRAPE_TIMEOUT = 10.0
LATEST = 110.0
"""Seconds by which a sample comes later than its neighbours at most: after two minutes it looks like a new one."""
ANSWERS: dict[tuple[str, str, str], AnswerClass] = {
    ("200", "-", ""): AnswerClass.SUCCESS,
    ("201", "", ""): AnswerClass.SUCCESS,
    ("302", "-", ""): AnswerClass.REDIRECT,
    ("401", "-", ""): AnswerClass.UNAUTHORIZED,
    ("404", "-", ""): AnswerClass.NOT_FOUND,
    ("404", "NR", ""): AnswerClass.NOT_FOUND,
    ("429", "-", ""): AnswerClass.THROTTLED,
    ("422", "-", ""): AnswerClass.REJECTED,
    ("0", "DC", ""): AnswerClass.CUT_OFF,
    ("200", "UC", ""): AnswerClass.ERROR,
    ("503", "UF,URX", ""): AnswerClass.ERROR,
    ("500", "-", ""): AnswerClass.ERROR,
    ("200", "-", "14"): AnswerClass.ERROR,
    ("200", "-", "5"): AnswerClass.NOT_FOUND,
    ("200", "-", "0"): AnswerClass.SUCCESS,
}
"""Status, flags and gRPC status as Envoy writes them, and what that is by the project's own definition."""
KINDS = (*COMPARED, AnswerClass.ERROR, AnswerClass.SUCCESS)


@dataclass(frozen=True)
class Counter:
    """One proxy's requests of one track with one answer."""

    track: Track
    answer: tuple[str, str, str]
    requests: Floats
    """When each was answered, ascending."""
    old: int
    """What it had counted before this world began."""
    resets: Floats
    """When it went back to zero: restarts of the proxy, and its own rotations."""

    def exposed(self, at: Floats) -> Floats:
        """Return what a scrape sees at each moment; NaN where the counter is not there."""
        reset = np.searchsorted(self.resets, at, side="right")
        before = np.append(-self.old, np.searchsorted(self.requests, self.resets, side="right"))[reset]
        value = np.searchsorted(self.requests, at, side="right") - before
        return np.where(value > 0, value, np.nan)

    def between(self, after: float, until: float) -> int:
        """Return how many requests there truly were."""
        first, last = np.searchsorted(self.requests, (after, until), side="right")
        return max(int(last - first), 0)

    def was_reset(self, after: float, until: float) -> bool:
        """Return whether it went back to zero."""
        first, last = np.searchsorted(self.resets, (after, until), side="right")
        return bool(last > first)


@dataclass(frozen=True)
class Proxy:
    """A gateway, or a sidecar; for a while it may go by another name."""

    number: int
    pod: str
    """Of a pod's own sidecar; empty for gateways and sidecars of clients."""
    began: float
    ends: float
    down: tuple[tuple[float, float], ...]
    """From when to when it restarted in place."""
    renamed: tuple[float, ...]
    counters: tuple[Counter, ...]

    @property
    def names(self) -> Iterator[tuple[int, float, float]]:
        """Yield the number of each of its names, and from when to when it has it."""
        yield from ((index, *span) for index, span in enumerate(pairwise((-np.inf, *self.renamed, np.inf))))

    def started(self, at: float) -> float:
        """Return when the process that ran at a moment had started."""
        return max([self.began, *(end for _, end in self.down if end <= at)])


@dataclass(frozen=True)
class View:
    """Who scrapes: a job of a Prometheus."""

    job: str
    port: int
    replica: str
    interval: float
    offsets: tuple[float, ...]
    """By proxy."""
    dies: float
    revives: float
    lost: float
    """Share of scrapes that fail one by one."""
    outages: tuple[tuple[int, float, float], ...]
    """Which proxy it did not reach, from when to when."""
    delay: float = 0.0
    """Seconds after its time until a scrape has read the counters, at most."""


@dataclass
class Column:
    """The samples of one counter under one name, as one view has them."""

    proxy: int
    counter: int
    name: int
    view: int
    labels: dict[str, str]
    times: Floats
    values: Floats
    arrivals: Floats
    read_at: Floats
    """When the proxy answered; a sample's time is that of the scrape's beginning."""


@dataclass
class Session:
    """What one process was given: when each sample was seen, and what an earlier process had read before it."""

    began: float
    read_before: float = -np.inf
    seen: dict[tuple[int, int, int], dict[float, tuple[float, float, float, float]]] = field(default_factory=dict)
    """By proxy, name and counter, and by time: value, view, the number of the read that gave it first, and when the
    proxy answered."""
    reads: int = 0
    newest: float = -np.inf
    covered: list[tuple[float, float]] = field(default_factory=list)
    """From when to when each read has samples."""
    windows: list[float] = field(default_factory=list)
    """After which moment each read asked."""

    def of_view(self, view: int) -> Session:
        """Return what came of one of those who scrape."""
        ours = {key: {t: one for t, one in seen.items() if one[1] == view} for key, seen in self.seen.items()}
        return replace(self, seen={key: seen for key, seen in ours.items() if seen})


@dataclass(frozen=True)
class Bounds:
    """What must have been counted at least, and can at most, by track and kind of answer (2, K)."""

    least: Floats
    most: Floats
    before_gateway: Floats
    """What pods counted before the first gateway was scraped: until then theirs are the only counts."""


@dataclass
class World:
    """A mesh, those who scrape it, and who answers queries."""

    seed: int
    rng: np.random.Generator
    interval: float
    ends: float
    proxies: tuple[Proxy, ...]
    views: tuple[View, ...]
    querier: str
    """`plain` gives every view's series; `elected` and `merged` take the replica label away, as Mimir's and Thanos'."""
    knows_starts: bool
    late: bool
    columns: list[Column] = field(default_factory=list)
    names: dict[int, Series] = field(default_factory=dict)

    # -- what is scraped

    def scrape(self) -> None:
        """Fill in the samples."""
        election = self._election()
        for view_number, view in enumerate(self.views):
            for proxy in self.proxies:
                at, read_at = self._moments(view, proxy)
                if self.querier == "elected":
                    won = [any(a <= t < b for a, b, winner in election if winner == view_number) for t in at.tolist()]
                    at, read_at = at[won], read_at[won]
                lags = np.maximum(self._lags(at), read_at)
                for number, counter in enumerate(proxy.counters):
                    values = counter.exposed(read_at)
                    is_there = ~np.isnan(values)
                    own = np.maximum(lags, self._lags(at)) if self.late and len(self.views) == 1 else lags
                    for name, since, until in proxy.names:
                        keep = is_there & (at >= since) & (at < until)
                        if keep.any():
                            labels = self._labels(view, proxy, name, counter)
                            columns = (at[keep], values[keep], own[keep], read_at[keep])
                            self.columns.append(Column(proxy.number, number, name, view_number, labels, *columns))
        for index, column in enumerate(self.columns):
            series = MEANING.series_of(column.labels)
            assert series is not None
            self.names[index] = series

    def _moments(self, view: View, proxy: Proxy) -> tuple[Floats, Floats]:
        """Return when scrapes began, and when the proxy answered."""
        at = np.arange(view.offsets[proxy.number], self.ends, view.interval)
        read_at = at + view.delay * np.random.default_rng([self.seed, 4, proxy.number]).random(len(at))
        keep = (read_at >= proxy.began) & (read_at < proxy.ends) & ~((at >= view.dies) & (at < view.revives))
        keep &= self.rng.random(len(at)) >= view.lost
        for start, end in proxy.down:
            keep &= ~((read_at >= start) & (read_at < end))
        for number, start, end in view.outages:
            keep &= ~((at >= start) & (at < end)) | (number != proxy.number)
        return at[keep], read_at[keep]

    def _lags(self, at: Floats) -> Floats:
        """Return when samples arrive: never before an older one of their series."""
        lag = self.rng.exponential(self.interval / 3, len(at)) * (self.rng.random(len(at)) < 0.3) if self.late else 0.0
        return np.maximum.accumulate(at + np.minimum(lag, min(3 * self.interval, LATEST))) if len(at) else at

    def _election(self) -> list[tuple[float, float, int]]:
        if self.querier != "elected":
            return []
        edges = [-np.inf, *np.sort(self.rng.uniform(0, self.ends, self.rng.integers(1, 4))).tolist(), np.inf]
        return [(a, b, index % 2) for index, (a, b) in enumerate(pairwise(edges))]

    def _labels(self, view: View, proxy: Proxy, name: int, counter: Counter) -> dict[str, str]:
        status, flags, grpc = counter.answer
        labels = {
            "__name__": "istio_requests_total",
            "reporter": "destination" if proxy.pod else "source",
            "destination_version": VERSIONS[counter.track],
            "response_code": status,
            "response_flags": flags,
            "instance": f"10.0.{name}.{proxy.number}:{view.port}",
            "job": view.job,
            "pod": (proxy.pod or f"gateway-{proxy.number}") + ("-renamed" if name else ""),
        }
        if grpc:
            labels["grpc_response_status"] = grpc
        if view.replica and self.querier == "plain":
            labels["replica"] = view.replica
        return labels

    # -- what is read

    def read(self, session: Session, since: float, now: float, *, asked: float | None = None) -> Samples:
        """Return what a query about a time has, asked at its end or later, and note that it was seen."""
        session.reads += 1
        session.windows.append(since)
        parts: dict[Series, list[tuple[Floats, Floats, int, Floats]]] = {}
        place: dict[Series, Column] = {}
        for index, column in enumerate(self.columns):
            first, last = np.searchsorted(column.times, (since, now), side="right")
            last = min(last, int(np.searchsorted(column.arrivals, asked or now, side="right")))
            if last > first:
                series = self.names[index]
                place[series] = column
                pieces = parts.setdefault(series, [])
                part = slice(first, last)
                pieces.append((column.times[part], column.values[part], column.view, column.read_at[part]))
        given = []
        for series, pieces in parts.items():
            times, values, views, answered = self._answered(pieces)
            column = place[series]
            seen = session.seen.setdefault((column.proxy, column.name, column.counter), {})
            newest = max(seen, default=-np.inf) if self.querier == "merged" else -np.inf
            columns = (column.tolist() for column in (times, values, views, answered))
            for time, value, view, read_at in zip(*columns, strict=True):
                if time > newest:
                    seen.setdefault(time, (value, view, session.reads, read_at))
            given.append((series, times, values))
        given_until = max((float(times[-1]) for _, times, _ in given), default=session.newest)
        session.newest = max(session.newest, given_until)
        session.covered.append((since, session.newest))
        return Samples.of(given, since=since, started=self._starts(session, place, since, now))

    def _answered(self, pieces: list[tuple[Floats, Floats, int, Floats]]) -> tuple[Floats, Floats, Floats, Floats]:
        views = [np.full(len(times), float(view)) for times, _, view, _ in pieces]
        if len(pieces) == 1:
            return pieces[0][0], pieces[0][1], views[0], pieces[0][3]
        if self.querier == "merged":
            taken = merged_as_thanos(pieces[0][0], pieces[1][0])
        else:
            both = [(t, side, index) for side, piece in enumerate(pieces) for index, t in enumerate(piece[0].tolist())]
            taken = [(side, index) for _, side, index in sorted(both)]
        times, values, answered = (np.array([pieces[side][n][index] for side, index in taken]) for n in (0, 1, 3))
        return times, values, np.array([views[side][index] for side, index in taken]), answered

    def _starts(self, session: Session, place: dict[Series, Column], since: float, now: float) -> dict[str, float]:
        """Return when processes started, as far as that is exported; of what a reader saw at first it does not ask."""
        if not self.knows_starts or session.reads == 1:
            return {}
        last = {series.target: column for series, column in place.items()}
        return {
            target: self.proxies[column.proxy].started(float(column.times[column.times <= now].max()))
            for target, column in last.items()
            if np.isfinite(self.proxies[column.proxy].began)
        }

    # -- what is true

    def bounds(self, sessions: list[Session]) -> Bounds:
        """Return what the samples that were seen can tell, and what truly was in the time that they cover."""
        least, most, before_gateway = np.zeros((3, 2, len(KINDS)))
        gateways = [self._span(s, p, n) for s in sessions for p in self.proxies if not p.pod for n, _, _ in p.names]
        until = min((span[0] for span in gateways if span), default=np.inf) + LATEST * self.late
        verdict = "" if any(not proxy.pod for proxy in self.proxies) else "pods"
        for proxy in self.proxies:
            if bool(proxy.pod) != bool(verdict):
                for counter in proxy.counters:
                    place = (0 if counter.track is Track.CANARY else 1, KINDS.index(ANSWERS[counter.answer]))
                    before_gateway[place] += counter.between(sessions[0].began, until)
                continue
            for name, _, _ in proxy.names:
                answered = [
                    sample[3]
                    for session in sessions
                    for key, seen in session.seen.items()
                    for sample in seen.values()
                    if key[:2] == (proxy.number, name)
                ]
                if not answered:
                    continue
                first, last = min(answered), max(answered)
                if self.knows_starts and proxy.started(first) > sessions[0].began:
                    first = proxy.started(first)
                for number, counter in enumerate(proxy.counters):
                    place = (0 if counter.track is Track.CANARY else 1, KINDS.index(ANSWERS[counter.answer]))
                    most[place] += counter.between(first, last)
                    least[place] += self._known(sessions, proxy, name, number)
        return Bounds(least, most, before_gateway)

    def _span(self, session: Session, proxy: Proxy, name: int) -> tuple[float, float] | None:
        times = [t for key, seen in session.seen.items() if key[:2] == (proxy.number, name) for t in seen]
        return (min(times), max(times)) if times else None

    def _known(self, sessions: list[Session], proxy: Proxy, name: int, number: int) -> int:
        """Return what a counter's samples tell in the worst case; two that scrape it tell no less than one alone."""
        if self.querier != "plain" or len(self.views) == 1:
            return self._told(sessions, proxy, name, number)
        if self.late:  # which of the two comes first is chance
            return 0
        every = [[session.of_view(view) for session in sessions] for view in range(len(self.views))]
        known = max(self._told(ours, proxy, name, number) for ours in every)
        unsure = sum(self._unsure(session, proxy, name, number) for session in sessions)
        if len(sessions) > 1:  # what the other had from the beginning is not kept
            unsure += max(int(min(seen.items())[1][0]) for seen in self._seen(sessions, proxy, name, number))
        return known - unsure

    def _seen(
        self, sessions: list[Session], proxy: Proxy, name: int, number: int
    ) -> Iterator[dict[float, tuple[float, float, float, float]]]:
        yield {0.0: (0.0, 0.0, 0.0, 0.0)}
        yield from (s.seen[key] for s in sessions if (key := (proxy.number, name, number)) in s.seen and s.seen[key])

    def _unsure(self, session: Session, proxy: Proxy, name: int, number: int) -> int:
        """Return what two that scrape may hide of each reset: of samples that are close the later can be the older."""
        seen = session.seen.get((proxy.number, name, number), {})
        around = [(a, b) for a, b in pairwise(sorted(seen)) if proxy.counters[number].was_reset(seen[a][3], seen[b][3])]
        return int(sum(min(seen[a][0], seen[b][0]) for a, b in around))

    def _told(self, sessions: list[Session], proxy: Proxy, name: int, number: int) -> int:
        known = 0
        for former, session in pairwise([Session(0.0), *sessions]):
            known += self._told_to(session, former, proxy, name, number)
        return known

    def _told_to(self, session: Session, former: Session, proxy: Proxy, name: int, number: int) -> int:
        seen = session.seen.get((proxy.number, name, number), {})
        counter, times = proxy.counters[number], sorted(seen)
        read = [t for key, other in former.seen.items() if key[:2] == (proxy.number, name) for t in other]
        before = [t for t in times if t <= session.read_before]
        before = before if before and before[-1] == max(read, default=-np.inf) else []
        times = [*before[-1:], *(t for t in times if t > session.read_before)]
        if not times:
            return 0
        neighbours = [
            other for key, other in session.seen.items() if key[:2] == (proxy.number, name) and key[2] != number
        ]
        known = 0
        if not before and self._began_at_zero(session, proxy, name, times[0], seen[times[0]], neighbours):
            known = int(seen[times[0]][0])
        all_times = sorted(seen)
        high, high_at = seen[times[0]][0], times[0]
        for earlier, later in pairwise(times):
            value, was = seen[later][0], seen[earlier][0]
            place = all_times.index(earlier)
            interval = earlier - all_times[place - 1] if place else np.inf
            before = seen[all_times[place - 1]][0] if place else 0.0
            if value < high and later - high_at < SCRAPE_TIMEOUT and value >= (before if before <= was else 0.0):
                continue
            was, high, high_at = high, value, later
            asked = session.windows[int(seen[later][2]) - 1]
            is_told = value < was or self._was_away(neighbours, max(earlier, asked), earlier, later, interval)
            was_reset = counter.was_reset(seen[earlier][3], seen[later][3])
            if was_reset and not is_told and len(self.views) > 1 and self.querier == "plain":
                continue  # what does not show a reset that another may have seen can be older than it says
            known += int(value if was_reset and is_told else value - was)
        return known

    def _began_at_zero(
        self,
        session: Session,
        proxy: Proxy,
        name: int,
        first: float,
        sample: tuple[float, float, float, float],
        neighbours: list[dict[float, tuple[float, float, float, float]]],
    ) -> bool:
        _, view, read, _ = sample
        is_late = any(t >= first and seen[2] < read for other in neighbours for t, seen in other.items())
        if is_late:
            return False
        span = self._span(session, proxy, name)
        assert span is not None
        gaps = [after for (_, until), (after, _) in pairwise(session.covered[: int(read)]) if after > until]
        if first - max([span[0], *gaps]) > SETTLED and not session.read_before > -np.inf:
            return True
        if self.querier == "merged":  # the neighbours may come from other scrapes
            return False
        for other in neighbours:
            at = [t for t, seen in sorted(other.items()) if t <= first and (seen[1] == view or self.querier != "plain")]
            if self.late:  # what was read before may not be all
                at = [t for t in at if t > session.read_before]
            if first in at and other[first][2] == read and len(at) > 1 and at[-2] > session.windows[int(read) - 1]:
                return True
        return False

    def _was_away(
        self,
        neighbours: list[dict[float, tuple[float, float, float, float]]],
        since: float,
        earlier: float,
        later: float,
        interval: float,
    ) -> bool:
        """Return whether good scrapes of its proxy were without the counter, for several of its own intervals."""
        if len(self.views) > 1 or not later - earlier > AWAY * interval:
            return False
        return any(later in other and sum(since < t < later for t in other) >= 2 for other in neighbours)


def merged_as_thanos(a: Floats, b: Floats) -> list[tuple[int, int]]:
    """Return which samples of two replicas Thanos' penalty de-duplication gives, each as replica and place."""
    times, taken = (a, b), []
    last, penalty = -np.inf, [0.0, 0.0]
    while True:
        places = [int(np.searchsorted(times[side], last + penalty[side], side="right")) for side in (0, 1)]
        there = [places[side] < len(times[side]) for side in (0, 1)]
        if not any(there):
            return taken
        if not all(there):
            side = 0 if there[0] else 1
        else:
            side = 0 if times[0][places[0]] <= times[1][places[1]] else 1
            at = float(times[side][places[side]])
            penalty[1 - side] = 2 * (at - last) if np.isfinite(last) else 5.0
        penalty[side] = 0.0
        last = float(times[side][places[side]])
        taken.append((side, places[side]))


# -- worlds by chance


def world(seed: int, *, slow: bool = False) -> World:
    """Return one of countless meshes, with everything that happens to them; scrapes of an HA pair may be slow."""
    rng = np.random.default_rng(seed)
    interval = float(rng.choice([5.0, 15.0, 30.0, 60.0], p=[0.4, 0.3, 0.2, 0.1]))
    ends = interval * int(rng.integers(10, 50))
    kind = rng.choice(["gateways", "pods", "both"], p=[0.7, 0.15, 0.15])
    number = int(rng.integers(1, 5))
    pods = {"gateways": [""] * number, "pods": [f"p{n}" for n in range(number)], "both": ["", "p1", "p2"]}[str(kind)]
    proxies = tuple(_proxy(rng, n, pod, interval, ends) for n, pod in enumerate(pods))
    querier = str(rng.choice(["single", "jobs", "plain", "elected", "merged"], p=[0.5, 0.08, 0.16, 0.13, 0.13]))
    views = _views(rng, querier, len(proxies), interval, ends)
    chance, slow = np.random.default_rng([seed, 3]), slow and querier in ("elected", "merged")
    delays = [float(chance.choice([0.0, 0.5, 3.0, 9.9])) if slow else 0.0 for _ in views]
    views = tuple(replace(view, delay=min(delay, 0.99 * interval)) for view, delay in zip(views, delays, strict=True))
    made = World(
        seed=seed,
        rng=rng,
        interval=interval,
        ends=ends,
        proxies=proxies,
        views=views,
        querier="plain" if querier in ("single", "jobs") else querier,
        knows_starts=bool(rng.random() < 0.4),
        late=bool(rng.random() < 0.25) or any(delays),
    )
    made.scrape()
    return made


def _proxy(rng: np.random.Generator, number: int, pod: str, interval: float, ends: float) -> Proxy:
    began = -np.inf if rng.random() < 0.6 else float(rng.uniform(-5 * interval, 0.7 * ends))
    leaves = float(rng.uniform(max(began, 0), ends)) if rng.random() < 0.3 else np.inf
    restarts = np.sort(rng.uniform(max(began, 0), min(leaves, ends), rng.choice([0, 1, 2, 3], p=[0.5, 0.3, 0.1, 0.1])))
    down: list[tuple[float, float]] = []
    for at in restarts.tolist():
        if not down or at > down[-1][1]:
            down.append((at, at + float(rng.choice([0.1, 1.0, 2.0])) * float(rng.uniform(0.01, interval))))
    renamed = tuple(rng.uniform(0, ends, 1).tolist()) if rng.random() < 0.15 else ()
    chosen = rng.permutation(len(ANSWERS))[: rng.integers(1, 5)]
    keys = [(track, list(ANSWERS)[index]) for track in (Track.STABLE, Track.CANARY) for index in [0, *chosen.tolist()]]
    canary = float(rng.uniform(-0.5, 0.6)) * ends
    counters = tuple(
        _counter(rng, track, answer, began, leaves, down, interval, ends, canary)
        for track, answer in dict.fromkeys(keys)
    )
    return Proxy(number, pod, began, leaves, tuple(down), renamed, counters)


def _counter(
    rng: np.random.Generator,
    track: Track,
    answer: tuple[str, str, str],
    began: float,
    leaves: float,
    down: list[tuple[float, float]],
    interval: float,
    ends: float,
    canary: float,
) -> Counter:
    start, end = max(began, -2 * interval), min(leaves, ends)
    if track is Track.CANARY:
        start = max(start, canary)
    is_usual = answer == ("200", "-", "")
    if not is_usual and rng.random() < 0.5:  # appears, or ends, on the way
        start, end = np.sort(rng.uniform(start, max(end, start), 2)).tolist()
    rate = float(rng.choice([0.1, 1.0, 8.0] if not is_usual else [1.0, 10.0, 30.0])) / interval
    requests = rng.uniform(start, max(end, start), rng.poisson(rate * max(end - start, 0)))
    if rng.random() < 0.4:  # in bursts, with nothing between
        gaps = np.sort(rng.uniform(start, max(end, start), 4))
        requests = requests[
            ~((requests > gaps[0]) & (requests < gaps[1])) & ~((requests > gaps[2]) & (requests < gaps[3]))
        ]
    for off, on in down:
        requests = requests[(requests < off) | (requests > on)]
    requests = np.sort(requests)
    old = int(rng.choice([0, 1, 900, 5_000_000])) if began == -np.inf and track is Track.STABLE else 0
    if began == -np.inf and track is Track.CANARY and rng.random() < 0.3:
        old = int(rng.choice([3, 900]))
    resets = [off for off, _ in down]
    if not is_usual and rng.random() < 0.35:
        resets += rng.uniform(0, ends, rng.integers(1, 3)).tolist()
    return Counter(track, answer, requests, old, np.sort(np.array(resets, dtype=np.float64)))


def _views(rng: np.random.Generator, querier: str, proxies: int, interval: float, ends: float) -> tuple[View, ...]:
    count = 1 if querier == "single" else 2
    views = []
    for index in range(count):
        dies, revives = np.inf, np.inf
        if index == 0 and count == 2 and rng.random() < 0.4:
            dies = float(rng.uniform(0, ends))
            revives = np.inf if rng.random() < 0.5 else dies + float(rng.uniform(0, ends / 2))
        outages = tuple(
            (int(rng.integers(proxies)), at, at + float(rng.uniform(1, 8)) * interval)
            for at in rng.uniform(0, ends, rng.integers(0, 2)).tolist()
        )
        views.append(
            View(
                job="pods" if querier != "jobs" or index == 0 else "canary",
                port=15020 if querier != "jobs" or index == 0 else 15090,
                replica="ab"[index] if querier not in ("single", "jobs") else "",
                interval=interval,
                offsets=tuple(np.round(rng.uniform(0, interval, proxies), 3).tolist()),
                dies=dies,
                revives=revives,
                lost=float(rng.choice([0.0, 0.05, 0.2])),
                outages=outages,
            )
        )
    return tuple(views)
