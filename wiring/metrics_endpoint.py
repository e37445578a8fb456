"""The pipeline's own metrics for Prometheus, read from the ledger at each scrape."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, time

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

import backends.local.prometheus_process as scraper
from conductor.commands.commands import Begun, Desk, begun
from conductor.commands.exporter import metrics as measured
from conductor.commands.status import standing
from rollout.errors import RolloutError
from wiring.command_contexts import command_contexts
from wiring.metrics_server import listening
from wiring.target import Target

LOOPBACK = "127.0.0.1"


HISTORY_SECONDS = 60.0
"""How long what is known of ended rollouts may be told again: their records hardly change, and are long to read."""


log = logging.getLogger(__name__)


@contextmanager
def serving(
    target: Target, plan: Path, *, port: int = 0, host: str = LOOPBACK, also: Iterable[Collector] = ()
) -> Iterator[str]:
    """Serve the services' metrics while the body runs, and yield where; the embedded Prometheus scrapes them.

    Parameters
    ----------
    target, plan
        Name the service, as for a command; without one, all services with a rollout on record are served.
    port, host
        Where to answer; 0: a free port.
    also
        Whatever else the process measures.

    Raises
    ------
    SetupError
        When the port is taken.
    """
    registry = CollectorRegistry(auto_describe=False)
    for collector in (Ledgers(lambda: command_contexts(target, plan)), *also):
        registry.register(collector)
    with listening(host, port, make_wsgi_app(registry)) as port, _scraped(target, port):
        yield f"http://{host}:{port}/metrics"


@contextmanager
def _scraped(target: Target, port: int) -> Iterator[None]:
    if target.backend != "local":
        yield
        return
    scraper.add_scrape_target(target.state, port)
    try:
        yield
    finally:
        scraper.remove_scrape_target(target.state, port)


class Ledgers(Collector):
    """Reads the ledgers whenever it is asked; keeps nothing that it could not read again."""

    def __init__(self, contexts: Callable[[], Mapping[str, Callable[[], Desk]]]) -> None:
        self._contexts = contexts
        self._histories = defaultdict[str, History](History)
        self._looking = threading.Lock()
        self._last: tuple[GaugeMetricFamily, ...] = ()
        """What the last look has shown; empty before the first."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield all metrics of each service, and whether its ledger could be read.

        Only one look is under way at a time. Whoever asks meanwhile gets the last one, and waits for the very first.
        """
        waits = not self._last
        if self._looking.acquire(blocking=waits):
            try:
                if not (waits and self._last):  # else somebody else's look was waited for
                    self._last = tuple(self._look())
            finally:
                self._looking.release()
        return iter(self._last)

    def _look(self) -> Iterator[GaugeMetricFamily]:
        merged, readable = dict[str, GaugeMetricFamily](), dict[str, bool]()
        for service, open_context in self._opened().items():
            families = self._read(service, open_context)
            readable[service] = families is not None
            for family in families or ():
                if merged.setdefault(family.name, family) is not family:
                    merged[family.name].samples += family.samples
        ledgers = GaugeMetricFamily(
            "canary_ledger_readable", "Whether the rollouts' records could be read.", labels=["service"]
        )
        for service, is_readable in (readable or {"": False}).items():
            ledgers.add_metric([service], is_readable)
        yield ledgers
        documentation = (
            "When the records were looked at that this tells of; an old one is told while the next is under way."
        )
        yield GaugeMetricFamily("canary_ledger_look_timestamp_seconds", documentation, time())
        yield from merged.values()

    def _opened(self) -> Mapping[str, Callable[[], Desk]]:
        try:
            return self._contexts()
        except RolloutError as error:
            log.warning("cannot read the ledgers now: %s", error)
            return {}

    def _read(self, service: str, open_context: Callable[[], Desk]) -> list[GaugeMetricFamily] | None:
        """Return a service's metrics; its world is opened anew, as it may have been started again in between."""
        try:
            return list(self._histories[service].metrics(open_context()))
        except RolloutError as error:
            log.warning("cannot read the ledger of %s now: %s", service or "the service", error)
            return None


class History:
    """What is known of one service's rollouts, so that those that ended long ago are read now and then only."""

    def __init__(self) -> None:
        self._ended: tuple[Begun, ...] = ()
        self._read_at = -HISTORY_SECONDS

    def metrics(self, desk: Desk) -> Iterator[GaugeMetricFamily]:
        """Yield the service's metrics as of now."""
        status = standing(desk.world, desk.clock.now(), but=self._settled)
        yield from measured(status, self._history(desk, status.latest))

    @property
    def _settled(self) -> frozenset[str]:
        """Rollouts that need not be read again: all but the latest one and what came after it, such as drills."""
        rollouts = [number for number, rollout in enumerate(self._ended) if not rollout.started.drill]
        return frozenset(rollout.name for rollout in self._ended[: rollouts[-1]]) if rollouts else frozenset()

    def _history(self, desk: Desk, latest: Begun | None) -> tuple[Begun, ...]:
        if monotonic() - self._read_at >= HISTORY_SECONDS:
            self._ended = begun(desk.world)
            self._read_at = monotonic()
        others = tuple(rollout for rollout in self._ended if latest is None or rollout.name != latest.name)
        return (*others, latest) if latest else others


class Looks(Collector):
    """What this guard has done since it was started."""

    def __init__(self) -> None:
        self._last = 0.0
        self._looks = {"looked": 0, "could not look": 0}
        self._actions = 0

    def note(self, *, looked: bool, actions: int) -> None:
        """Count one look, and what was done at it."""
        self._looks["looked" if looked else "could not look"] += 1
        self._last = time() if looked else self._last
        self._actions += actions

    def collect(self) -> Iterator[Metric]:
        """Yield the guard's own metrics."""
        looks = CounterMetricFamily("canary_guard_looks", "Looks at the rollouts of a service.", labels=["result"])
        for result, count in self._looks.items():
            looks.add_metric([result], count)
        yield looks
        yield CounterMetricFamily(
            "canary_guard_actions", "Deeds, such as takeovers and runs ended; not what failed.", self._actions
        )
        documentation = "When the guard last looked with success; 0: not yet."
        yield GaugeMetricFamily("canary_guard_last_look_timestamp_seconds", documentation, self._last)
