"""The past: what was counted of stable alone before the rollout, from which its law and its scatter are learnt."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from analysis.scrapes.increments import Scrapes
from analysis.scrapes.reading import Cursor
from conductor.state.rollout_run import Run
from conductor.watch import watch_until
from rollout.decide import RollBack
from rollout.errors import NoSamplesError, UnavailableError
from rollout.model import Track

log = logging.getLogger(__name__)

LONGEST = timedelta(hours=6)
BUDGET = timedelta(seconds=30)
"""What the reading may take; the baseline phase has to go on."""
PART_SCRAPES = 180
"""Scrapes that one query asks for: a few thousand series' samples, read well within one scrape."""


@dataclass(slots=True)
class Past:
    """What was read so far, going back in time; only the counts are kept, not the samples."""

    run: Run
    now: datetime
    end: datetime
    """Up to where it is still unread."""
    parts: list[Scrapes] = field(default_factory=list)
    """Oldest first."""

    def read_part(self) -> bool:
        """Read the part before those that were read, and return whether there is no more to read."""
        start = max(self.end - PART_SCRAPES * self.run.plan.scrape, self.now - LONGEST)
        try:
            samples = self.run.ports.metrics.read_range(start, self.end)
        except (UnavailableError, NoSamplesError) as error:
            log.debug("history ends at %s: %s", self.end, error)
            return True
        scrapes, _ = self.run.judge.read(Cursor(), samples, against=Track.STABLE)
        alone = stable_alone(scrapes)
        self.parts.insert(0, alone)
        self.end = start
        return len(alone) < len(scrapes) or start <= self.now - LONGEST

    @property
    def seconds(self) -> float:
        """How much time the counts cover."""
        return sum(float(part.span.sum()) for part in self.parts)


def stable_alone(scrapes: Scrapes) -> Scrapes:
    """Return the scrapes after the last in which a canary had traffic."""
    busy = scrapes.requests[:, 0].nonzero()[0]
    return scrapes[int(busy[-1]) + 1 :] if len(busy) else scrapes


def learn_history(run: Run) -> RollBack | None:
    """Learn from what the metrics' source still knows of stable alone; signals and pods are watched all the while.

    Newest first, so that what the time suffices for is the part that matters most. Returns the reason to stop.
    """
    now = run.ports.clock.now()
    past = Past(run, now, now)
    stop = watch_until(run, past.read_part, timeout=BUDGET, every=timedelta(0))
    if isinstance(stop, RollBack):
        return stop
    # What was counted meanwhile is in the history or comes with the next look.
    run.evidence = run.judge.learn_parts(run.judge.begin(), past.parts)
    run.history_seconds = past.seconds
    log.info("learnt from %.0f s before the rollout", past.seconds)
    return None
