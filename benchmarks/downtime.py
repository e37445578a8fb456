"""Zero downtime, counted: every kind of request in flight through a promotion, weight changes and scale-downs.

    python -m benchmarks.downtime [--requests 100000] [--changes 200] [--rate 700] [--seed 1] [--json FILE] [--check]
    python -m benchmarks.downtime --gateway URL [--requests 100000]

Two parts on the embedded backend, with `benchmarks.running.request_kinds`'s client all the while:

promotion       `canary run` of a healthy canary to its end, and `canary restore` back to stable
changes         the gateway's weights alone: seeded shares, the canary's pods more and fewer in between, each of them
                gone while requests that it had begun are answered

With `--gateway` the client alone runs, against a gateway that others steer: on a cluster too.

requests        sent; lost: not answered whole, or with a server's error. None is tried again
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

import backends.local.environment as local
from benchmarks.running.demos import CANARY
from benchmarks.running.processes import running
from benchmarks.running.request_kinds import Client, Tally
from rollout.events import Ended, EndState, Scaled, WeightsSet
from rollout.model import AT_REST, Pod, Track, Weights
from rollout.plan import RolloutPlan, parse_plan
from wiring.interruption import interruptible

POD_SECONDS = 30.0
ROLLOUT_SECONDS = 240.0
HOLD_SECONDS = 0.15
"""Between two changes of the weights."""


@dataclass
class Steered:
    """What was done to the gateway meanwhile."""

    weights: int = 0
    scale_ups: int = 0
    scale_downs: int = 0
    rollout: str = ""
    """How the rollout ended."""
    seconds: float = 0.0
    kinds: dict[str, Tally] = field(default_factory=dict)

    @property
    def requests(self) -> int:
        """All that were sent."""
        return sum(tally.requests for tally in self.kinds.values())

    @property
    def lost(self) -> int:
        """All that were lost."""
        return sum(tally.lost for tally in self.kinds.values())


def plan_of() -> RolloutPlan:
    """Return a short plan that is carried out to its end unless the canary is shown to be bad.

    Some answers take seconds here on purpose, and a websocket's as long as it is open: a mean of them shows little.
    """
    plan = yaml.safe_load(Path("demo.yaml").read_text())
    plan["baseline"] = {"observe": "4s"}
    steps = (("introduce", 20, 1), ("increase", 50, 2), ("full", 100, 3))
    plan["steps"] = [
        {"name": name, "canary": f"{share}%", "replicas": replicas, "bake": "5s", "deadline": "40s"}
        for name, share, replicas in steps
    ]
    plan["criteria"]["latency"] = {"statistic": "mean", "healthy_below": "5s", "rollback_above": "14s"}
    return parse_plan(yaml.safe_dump(plan | {"minimum_effect": {"latency": "100%"}, "when_inconclusive": "promote"}))


@contextmanager
def sending(client: Client) -> Iterator[None]:
    """Let the client send in a thread of its own while the body runs, and wait for its last answers."""
    thread = threading.Thread(target=lambda: asyncio.run(client.run()), daemon=True)
    thread.start()
    try:
        yield
    finally:
        client.end()
        thread.join()


def measure(requests: int, changes: int, rate: float, seed: int, console: Console) -> Steered:
    """Return what was lost on an embedded backend of its own."""
    done, began = Steered(), time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder, plan = Path(name), plan_of()
        world = local.start(folder, plan=plan, scrape=timedelta(seconds=1), seed=seed, owner_pid=os.getpid())
        client = Client(world.gateway_url, rate=rate, seed=seed)
        try:
            with sending(client):
                time.sleep(3)
                promote(world, folder, plan, done)
                console.print(f"rollout {done.rollout}, {client.requests:,} requests so far, {client.lost} lost")
                change(world, random.Random(seed), client, done, requests=requests, changes=changes)
        finally:
            world.stop()
    done.kinds, done.seconds = client.tallies, time.monotonic() - began
    return done


def promote(world: local.World, folder: Path, plan: RolloutPlan, done: Steered) -> None:
    """Carry a healthy rollout out to its end, take it back, and let its pods go."""
    file = folder / "plan.yaml"
    file.write_text(yaml.safe_dump(plan.model_dump(mode="json")))
    where = ["--backend", "local", "--state", str(folder)]
    with running([CANARY, "run", "--name", "healthy", "--plan", str(file), "--no-wait", *where], folder) as flow:
        flow.wait(ROLLOUT_SECONDS)
    events = world.ledger("healthy").read().events
    done.rollout = next((f"{event.state}: {event.reason}" for event in events if isinstance(event, Ended)), "no end")
    done.weights += sum(isinstance(event, WeightsSet) for event in events)
    done.scale_ups += sum(isinstance(event, Scaled) for event in events)
    with running([CANARY, "restore", "--reason", "the benchmark goes on", *where], folder) as order:
        order.wait(60)
    done.weights += 1
    _scale(world, 0, done)


def change(
    world: local.World, draw: random.Random, client: Client, done: Steered, *, requests: int, changes: int
) -> None:
    """Change weights and pods until both numbers are reached; all traffic is on stable in the end."""
    _scale(world, 2, done)
    made = 0
    while made < changes or client.requests < requests:
        world.router.set_weights(Weights.with_canary(draw.choice((0, 5, 20, 50, 80, 95, 100))))
        made += 1
        time.sleep(HOLD_SECONDS)
        if made % 10 == 0:  # pods come and go under traffic
            _scale(world, draw.choice((1, 2, 3)), done)
        if made % 50 == 0:  # all of them go, once no new request can reach them
            world.router.set_weights(AT_REST)
            made += 1
            _scale(world, 0, done)
            _scale(world, 2, done)
    world.router.set_weights(AT_REST)
    done.weights += made + 1
    _scale(world, 0, done)


def _scale(world: local.World, replicas: int, done: Steered) -> None:
    """Give the canary so many pods, and wait until they serve or are gone."""
    before = len(_pods(world))
    world.workloads.scale(Track.CANARY, replicas)
    deadline = time.monotonic() + POD_SECONDS
    while [pod.ready for pod in _pods(world)] != [True] * replicas:
        if time.monotonic() > deadline:
            raise SystemExit(f"the canary has not {replicas} pods after {POD_SECONDS:g} s")
        time.sleep(0.05)
    done.scale_ups += replicas > before
    done.scale_downs += replicas < before


def _pods(world: local.World) -> list[Pod]:
    return [pod for pod in world.workloads.pods() if pod.track is Track.CANARY]


def describe_table(kinds: dict[str, Tally]) -> Table:
    """Return the count by kind."""
    table = Table(title="Requests in flight while the traffic is steered")
    for heading in ("kind", "requests", "lost", "connections", "by stable", "by canary", "first loss"):
        table.add_column(heading, justify="left" if heading in ("kind", "first loss") else "right")
    for kind, tally in kinds.items():
        counts = (tally.requests, tally.lost, tally.connections, tally.tracks["stable"], tally.tracks["canary"])
        table.add_row(kind, *(f"{count:,}" for count in counts), tally.first_loss)
    return table


def send_alone(url: str, requests: int, rate: float, seed: int) -> Steered:
    """Return what was lost at a gateway that others steer."""
    client, began = Client(url, rate=rate, seed=seed), time.monotonic()
    with sending(client):
        while client.requests < requests:
            time.sleep(0.2)
    return Steered(seconds=time.monotonic() - began, kinds=client.tallies)


def to_json(done: Steered) -> dict[str, object]:
    """Return all numbers, as JSON has them."""
    kinds = {kind: vars(tally) | {"tracks": dict(tally.tracks)} for kind, tally in done.kinds.items()}
    return vars(done) | {"kinds": kinds, "requests": done.requests, "lost": done.lost}


def main() -> None:
    """Measure, print, write, check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000, help="at least so many")
    parser.add_argument("--changes", type=int, default=200, help="at least so many changes of the weights alone")
    parser.add_argument("--rate", type=float, default=700.0, help="short requests a second")
    parser.add_argument("--gateway", default="", help="send to this gateway only, which others steer")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true", help="exit 1 where a request was lost")
    options = parser.parse_args()
    console = Console()
    with interruptible():
        if options.gateway:
            done = send_alone(options.gateway, options.requests, options.rate, options.seed)
        else:
            done = measure(options.requests, options.changes, options.rate, options.seed, console)
    console.print(describe_table(done.kinds))
    console.print(
        f"{done.lost} of {done.requests:,} requests lost in {done.seconds:.0f} s, "
        f"{done.weights} changes of the weights, {done.scale_ups} scale-ups, {done.scale_downs} scale-downs"
    )
    if options.json:
        options.json.write_text(json.dumps(to_json(done), indent=1))
    if options.check and (done.lost or not done.rollout.startswith(str(EndState.PROMOTED if done.weights else ""))):
        sys.exit(f"missed: {done.lost} requests lost, the rollout ended as {done.rollout or 'none'}")


if __name__ == "__main__":
    main()
