"""Trying on: what brings the traffic home does not give up at the first answer that is late."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from datetime import datetime, timedelta
from typing import TypeVar

from conductor.state.environment import World
from rollout.errors import ConflictError, NotReadyError, UnavailableError
from rollout.model import Track
from rollout.ports import Clock

T = TypeVar("T")

ORDER_WITHIN = timedelta(minutes=2)
"""How long an order goes on trying, pods that have to start included."""
UNSEEN_FOR = timedelta(seconds=5)
"""How long pods that were never scaled down are looked for before they are taken to be there."""
_PAUSE = timedelta(milliseconds=500)
_LOOK = timedelta(milliseconds=200)


def persistently(clock: Clock, until: datetime, call: Callable[[], T]) -> Generator[str, None, T]:
    """Return what a call gives, made again and again until this moment; yield a line when it first fails.

    Raises
    ------
    UnavailableError, ConflictError
        The last one, once the time is up.
    """
    is_told = False
    while True:
        try:
            return call()
        except (UnavailableError, ConflictError) as error:
            if clock.now() >= until:
                raise
            if not is_told:
                yield f"{error}; trying on until {until:%H:%M:%S} UTC"
            is_told = True
        clock.sleep(_PAUSE)


def wake_stable(
    world: World, clock: Clock, until: datetime, *, version: str, replicas: int, was_retired: bool
) -> Iterator[str]:
    """See that the old version has a ready pod before it gets the traffic, and yield what had to be done for that.

    Parameters
    ----------
    world, clock
        Where, and whose time.
    until
        When to give up.
    version, replicas
        What to ask for where there is none.
    was_retired
        Whether it was scaled to zero on purpose, as far as is known: then nothing but a pod that is seen will do.

    Raises
    ------
    NotReadyError
        When no pod is ready, or can be seen, by then.
    """
    unseen_until = min(until, clock.now() + UNSEEN_FOR)
    is_asked = False
    while (ready := _has_ready_stable(world)) is not True:
        now = clock.now()
        if ready is None and not was_retired and not is_asked and now >= unseen_until:
            yield f"pods cannot be seen: {version} was not scaled down, and is taken to be there"
            return
        if now >= until:
            seen = "can be seen" if ready is None else "is ready"
            raise NotReadyError(
                f"no pod of {version} {seen}: the traffic stays where it is; `canary restore` tries again"
            )
        if not is_asked and (ready is False or was_retired):
            try:
                world.workloads.scale(Track.STABLE, replicas)
            except UnavailableError:  # asked again at the next look
                pass
            else:
                is_asked = True
                yield f"{version} has no ready pod: asked for {replicas}"
        clock.sleep(_LOOK)


def _has_ready_stable(world: World) -> bool | None:
    """Return whether stable has a ready pod; None where nobody can say."""
    try:
        return any(pod.ready for pod in world.workloads.pods() if pod.track is Track.STABLE)
    except UnavailableError:
        return None
