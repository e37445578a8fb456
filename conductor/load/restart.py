"""A load generator that ended by itself is started again: a few times, with growing pauses, and never unsaid."""

from __future__ import annotations

from datetime import datetime, timedelta

from conductor.state.rollout_run import Run
from rollout.errors import RolloutError
from rollout.model import Trouble
from rollout.ports import LoadGenerator

MOST_RESTARTS = 5
FIRST_PAUSE = timedelta(seconds=1)
"""Before the first restart; each further one waits twice as long."""
STEADY_AFTER = timedelta(minutes=10)
"""How long a restarted one has to run for the earlier ends to be forgotten."""


def keep_alive(run: Run, load: LoadGenerator, now: datetime) -> bool:
    """Return whether the load generator runs; one that ended is started again once its pause is over."""
    clients = run.load
    if load.pid is not None:
        if clients.restarted_at is not None and now - clients.restarted_at >= STEADY_AFTER:
            clients.restarts, clients.restarted_at = 0, None
        clients.missed_since = None
        return True
    if clients.restarts >= MOST_RESTARTS:
        gone = f"the load generator ended after {MOST_RESTARTS} restarts: the real traffic has to do"
        run.note_alarm(Trouble.LOAD_GENERATOR_LOST, gone, now)
        return False
    clients.missed_since = clients.missed_since or now
    if now - clients.missed_since >= FIRST_PAUSE * 2**clients.restarts:
        _restart(run, load, now)
    return load.pid is not None


def _restart(run: Run, load: LoadGenerator, now: datetime) -> None:
    clients = run.load
    clients.restarts, clients.restarted_at, clients.missed_since = clients.restarts + 1, now, None
    told = f"the load generator ended by itself ({load.exit_reason}), missed at {now:%H:%M:%S} UTC"
    try:
        load.restart()
    except RolloutError as error:
        failed = f"{told}; restart {clients.restarts} of {MOST_RESTARTS} failed: {error}"
        run.note_alarm(Trouble.LOAD_GENERATOR_NOT_RESTARTED, failed, now)
    else:
        lost = "what it counted in its last second may be missing"
        again = f"{told}; restarted, {clients.restarts} of {MOST_RESTARTS} times; {lost}"
        run.note_alarm(Trouble.LOAD_GENERATOR_ENDED, again, now)
