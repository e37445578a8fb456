"""Where a rollout stands, as its ledger keeps it, so that another process can go on."""

from __future__ import annotations

from pydantic import AwareDatetime, BaseModel, ConfigDict

from conductor.state.alarms import Told
from rollout.errors import DamagedError
from rollout.ports import Ledger


class Position(BaseModel):
    """Where a rollout stands: what the ledger keeps, so that another process can go on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step_index: int | None = None
    """None before the first step."""
    step_since: AwareDatetime | None = None
    """When the step's split was seen in the traffic; None until then."""
    passed: str = ""
    """Why it has been decided to leave the step; empty until then."""
    asked: int = 0
    """The canary's share that was last asked for, in percent."""
    seen_at: AwareDatetime | None = None
    """When somebody watched last: the time from then on until somebody else takes over is no bake time."""
    baseline_done: bool = False
    leaving: str = ""
    """Why all traffic is put on stable, once that has been decided: it never comes back."""
    adopting: bool = False
    """Whether `stable` may mean the canary's version already."""
    inputs: dict[str, str] = {}
    """Version of each piece of configuration that the canary reads: one may change while nobody watches."""
    asked_since: AwareDatetime | None = None
    """Since when a person's approval of the step is waited for."""
    heard: int = 0
    """How many words from outside have been taken up."""
    hooks_done: tuple[str, ...] = ()
    """Hooks that have succeeded, so that nobody runs them once more."""
    says: str = ""
    """What the judge said at the last look."""
    held: str = ""
    """Why a person is waited for; empty while none is."""
    hook: str = ""
    """What the hook said that holds the rollout; empty while none does."""
    alarms: tuple[Told, ...] = ()
    """The troubles that people have been told of."""
    judge: str = ""
    pods: str = ""


def position_on_record(ledger: Ledger) -> Position | None:
    """Return the position that a ledger keeps; None where there is none that this version can read."""
    try:
        state = ledger.load_state()
        return Position.model_validate_json(state) if state else None
    except (ValueError, DamagedError):
        return None
