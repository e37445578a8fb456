"""One service as both backends show it, with every port that a rollout needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from rollout.model import Track
from rollout.plan import RolloutPlan
from rollout.ports import Ledger, Lock, Router, Signals, Workloads

if TYPE_CHECKING:
    from analysis.scrapes.samples import Metrics


class World(Protocol):
    """One service on either backend."""

    @property
    def router(self) -> Router:
        """The split."""
        ...

    @property
    def workloads(self) -> Workloads:
        """The pods."""
        ...

    @property
    def metrics(self) -> Metrics:
        """What was counted."""
        ...

    def ledger(self, rollout: str) -> Ledger:
        """Return where a rollout's record lies."""
        ...

    def signals(self, rollout: str) -> Signals:
        """Return the words said to a rollout."""
        ...

    def lock(self, owner: str) -> Lock:
        """Return the service's lock, as this owner sees it; the router writes in its epoch from then on."""
        ...

    def rollouts(self) -> tuple[str, ...]:
        """Return the names of the rollouts that have a record, oldest first."""
        ...

    def forget(self, rollout: str) -> None:
        """Remove a rollout's record, state and signals for good. Harmless when there is none."""
        ...

    def serves(self, track: Track) -> bool:
        """Return whether live traffic can reach the pods of a track."""
        ...

    def drill_fault(self, fault: str, plan: RolloutPlan) -> str:
        """Return how a drill's canary is to fail; see `rollout.ports.Drills`."""
        ...

    def expose(self, marker: str, fault: str) -> None:
        """Let marked requests reach a canary that fails on purpose."""
        ...

    def clear_drill(self) -> None:
        """Let the canary fail on purpose no more."""
        ...

    def restore_stable(self) -> None:
        """Send all live traffic to the version that was stable when the rollout began, whoever steers."""
        ...

    def make_canary_stable(self) -> None:
        """Let the canary's version be what `stable` means, where that outlasts a rollout."""
        ...
