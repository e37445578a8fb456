"""Prefect's list of runs, over its plain HTTP interface: the guard tells it what a dead process cannot."""

from __future__ import annotations

import os
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Any, Self, assert_never

import httpx

from conductor.commands.flow_runs import Lost
from rollout.errors import UnavailableError
from rollout.events import Ended, EndState

_OPEN = ("RUNNING", "CANCELLING", "PAUSED", "PENDING")
_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class PrefectRuns:
    """Where Prefect's server answers, and what it wants to be told with each request."""

    url: str
    headers: dict[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def from_environment(cls) -> Self | None:
        """Return what `PREFECT_API_URL` names; None where it names nothing. Prefect itself is not imported.

        Credentials: `PREFECT_API_AUTH_STRING`, a server's user and password, or Prefect Cloud's `PREFECT_API_KEY`.
        """
        url = os.environ.get("PREFECT_API_URL", "").rstrip("/")
        credentials = os.environ.get("PREFECT_API_AUTH_STRING", "")
        key = os.environ.get("PREFECT_API_KEY", "")
        basic = f"Basic {b64encode(credentials.encode()).decode()}" if credentials else ""
        authorization = basic or (f"Bearer {key}" if key else "")
        return cls(url, {"Authorization": authorization} if authorization else {}) if url else None

    def settle(self, lost: tuple[Lost, ...]) -> tuple[str, ...]:
        """Give each run that is still open the state that is true, and return a line for each.

        Raises
        ------
        UnavailableError
            When the server does not answer.
        """
        lost_by_id = {run.flow_run: run for run in lost}
        filtered = {"id": {"any_": list(lost_by_id)}, "state": {"type": {"any_": list(_OPEN)}}}
        still_open = self._post("/flow_runs/filter", {"flow_runs": filtered})
        return tuple(self._close(run, lost_by_id[run["id"]]) for run in still_open)

    def is_cancelled(self, flow_run: str) -> bool:
        """Whether somebody has cancelled a run, noticed or not.

        Raises
        ------
        UnavailableError
            When the server does not answer.
        """
        filtered = {"id": {"any_": [flow_run]}, "state": {"type": {"any_": ["CANCELLING", "CANCELLED"]}}}
        return bool(self._post("/flow_runs/filter", {"flow_runs": filtered}))

    def _close(self, run: dict[str, Any], lost: Lost) -> str:
        state = final_state(lost, is_cancelling=run["state_type"] == "CANCELLING")
        # Forced, because a paused or cancelling run is not let go to every state.
        self._post(f"/flow_runs/{lost.flow_run}/set_state", {"state": state, "force": True})
        return (
            f"{lost.rollout}: Prefect's run {run['name']} was {run['state_type'].lower()}, now {state['type'].lower()}"
        )

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        try:
            answer = httpx.post(f"{self.url}{path}", json=body, headers=self.headers, timeout=_SECONDS)
            return answer.raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            raise UnavailableError(f"Prefect at {self.url}: {type(error).__name__}") from error


def final_state(lost: Lost, *, is_cancelling: bool) -> dict[str, str]:
    """Return the state, as Prefect's interface takes it, that tells what became of a run."""
    gone = "its process was gone; the rollout was taken over from it"
    message = f"{lost.ended.state.capitalize()}: {lost.ended.reason}; told by the guard" if lost.ended else gone
    if is_cancelling:
        return {"type": "CANCELLED", "message": message}
    if lost.ended is None:
        return {"type": "CRASHED", "message": message}
    return {"type": _type(lost.ended), "name": lost.ended.state.capitalize(), "message": message}


def _type(ended: Ended) -> str:
    match ended.state:
        case EndState.PROMOTED:
            return "COMPLETED"
        case EndState.ROLLED_BACK | EndState.HELD | EndState.FAILED:
            return "FAILED"
        case _:
            assert_never(ended.state)
