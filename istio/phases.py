"""Makes the phase files from the routes at rest and the plan's steps: `python istio/phases.py`.

A phase file is the resting VirtualService with other weights on its live route, and nothing else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from rollout.model import Weights
from rollout.plan import RolloutPlan, Step, parse_plan

Document = dict[str, Any]

FOLDER = Path(__file__).parent
RESTING = FOLDER / "virtual-service.yaml"
PLAN = FOLDER.parent / "rollout.yaml"
LIVE = "live"
"""Name of the route whose weights a rollout changes."""


def phase_files(resting: str, plan: RolloutPlan) -> dict[str, str]:
    """Return the text of each phase file by its name.

    Parameters
    ----------
    resting
        The VirtualService at rest, as YAML.
    plan
        The plan whose steps are the phases.
    """
    phases = {_name(step): Weights(100 - step.canary, step.canary) for step in plan.steps}
    phases["virtual-service-rollback.yaml"] = Weights(100, 0)
    return {name: _text(resting, weights) for name, weights in phases.items()}


def with_weights(virtual_service: Document, weights: Weights) -> Document:
    """Return the VirtualService with these weights on its live route's subsets."""
    shares = {"stable": weights.stable, "canary": weights.canary}
    spec = virtual_service["spec"]
    http = [_weighted(route, shares) if route.get("name") == LIVE else route for route in spec["http"]]
    return virtual_service | {"spec": spec | {"http": http}}


def _weighted(route: Document, shares: dict[str, int]) -> Document:
    return route | {"route": [to | {"weight": shares[to["destination"]["subset"]]} for to in route["route"]]}


def _name(step: Step) -> str:
    return f"virtual-service-{'full' if step.canary == 100 else f'canary-{step.canary}'}.yaml"


def _text(resting: str, weights: Weights) -> str:
    body = yaml.safe_dump(with_weights(yaml.safe_load(resting), weights), sort_keys=False, width=120)
    title = f"# stable {weights.stable}, canary {weights.canary}."
    return f"{title} Made by istio/phases.py from virtual-service.yaml and rollout.yaml; not edited by hand.\n{body}"


def main() -> None:
    """Write the phase files."""
    for name, text in phase_files(RESTING.read_text(), parse_plan(PLAN.read_text(), source=PLAN.name)).items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
