"""The rollouts of a service that have begun, read from records of which some may be damaged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from conductor.state.environment import World
from rollout.errors import DamagedError, PlanError
from rollout.events import EndState, Scaled, Started
from rollout.model import AT_REST, Track, Weights
from rollout.record import RolloutRecord


@dataclass(frozen=True, slots=True)
class Begun:
    """A rollout that has begun, with its record; mostly without the series, which are long to read."""

    name: str
    record: RolloutRecord
    started: Started

    @property
    def is_retired(self) -> bool:
        """Whether the version that a promotion replaced was scaled to zero, its retention being over."""
        ended = self.record.ended
        return ended is not None and any(
            isinstance(event, Scaled) and event.track == Track.STABLE and event.replicas == 0 and event.at >= ended.at
            for event in self.record.events
        )


@dataclass(frozen=True, slots=True)
class Survey:
    """What the records of a service hold."""

    begun: tuple[Begun, ...]
    """Oldest first."""
    damage: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What could not be read, by the rollout's name; it is left alone, and keeps nothing else from being read."""

    @property
    def unfinished(self) -> tuple[Begun, ...]:
        """The rollouts that have not ended, oldest first.

        A damaged record that another rollout began after may have lost its end: what it was is past.
        """
        latest = self.begun[-1:]
        return tuple(one for one in self.begun if not one.record.ended and (not one.record.damage or one in latest))

    @property
    def latest(self) -> Begun | None:
        """The latest rollout; a drill moves no live traffic, so that what there is to take back is another's."""
        return next((one for one in reversed(self.begun) if not one.started.drill), None)

    def explains(self, weights: Weights) -> bool:
        """Return whether a split is where its last rollout was to leave it: on stable, or promoted."""
        ended = self.latest.record.ended if self.latest else None
        is_promoted = ended is not None and ended.state is EndState.PROMOTED
        return weights == AT_REST or (is_promoted and weights.stable == 0)

    def lines(self) -> tuple[str, ...]:
        """Return the damage as a person reads it."""
        return tuple(f"{name}: left alone: {what}" for name, told in self.damage.items() for what in told)


def survey(world: World, *, but: frozenset[str] = frozenset()) -> Survey:
    """Return the rollouts that have begun, and what of the records cannot be read; some are left out by name."""
    begun, damage = list[Begun](), dict[str, tuple[str, ...]]()
    for name in world.rollouts():
        if name in but:
            continue
        try:
            record = world.ledger(name).read(series=False)
        except (PlanError, DamagedError) as error:  # of another version, or damaged: no reason to neglect the others
            damage[name] = (str(error),)
            continue
        if record.damage:
            damage[name] = record.damage
        if record.started:
            begun.append(Begun(name, record, record.started))
    return Survey(tuple(sorted(begun, key=lambda one: one.started.at)), damage)


def begun(world: World, *, but: frozenset[str] = frozenset()) -> tuple[Begun, ...]:
    """Return the rollouts that have begun, oldest first, leaving out some by name."""
    return survey(world, but=but).begun


def unfinished(world: World) -> tuple[Begun, ...]:
    """Return the rollouts that have begun and not ended, oldest first."""
    return survey(world).unfinished
