"""`canary promote`: what is left to do after a promotion, on the cluster and in the files that say what is at rest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backends.cluster.cluster_target import Taker
from cli.options import takes_target
from rollout.errors import LockedError, PlanError
from rollout.model import Track
from rollout.plan import RolloutPlan, parse_plan
from wiring.files import read_plan, read_text, write_text
from wiring.target import Target
from wiring.terminal import print_line

PlanOption = Annotated[Path, typer.Option(help="The rollout plan whose canary is to be the new stable.")]


@takes_target(Taker.PROMOTE)
def promote(
    target: Target,
    plan: PlanOption = Path("rollout.yaml"),
    write: Annotated[bool, typer.Option("--write", help="Write the files at rest, ready to commit.")] = False,
    following: Annotated[str, typer.Option("--next", help="With --write: the version that is released next.")] = "",
) -> None:
    """Let stable mean the plan's canary, where a rollout has not done so already; all traffic has to be on it.

    With --write the cluster is only asked, and the resting files and the plan are made to say what it says: applied
    again as they are, they would send all traffic back to the old version.
    Exit codes: 0 done or nothing to do, 2 bad input or not promoted, 1 the cluster could not be asked.
    """
    parsed = read_plan(plan)
    if target.backend == "local":
        raise PlanError("promote: got --backend local, allowed: cluster; the embedded backend keeps nothing at rest")
    if write:
        _write(parsed, target, plan, following)
    elif following:
        raise PlanError(f"--next: got {following!r} without --write, allowed: together with it")
    else:
        _adopt(parsed, target)


def _adopt(plan: RolloutPlan, target: Target) -> None:
    from wiring.composition import open_cluster, who_runs

    world = open_cluster(target, plan)
    if (holder := world.lock(who_runs()).holder()) and holder.lives:
        raise LockedError(holder.describe_with_advice())
    world.make_canary_stable()
    print_line(f"stable now means {plan.canary.version}, and has all the traffic; {plan.stable.version} keeps its pods")
    print_line("the files at rest still say otherwise: canary promote --write, then commit them")


def _write(plan: RolloutPlan, target: Target, plan_file: Path, following: str) -> None:
    from backends.cluster.promotion import selected_version
    from backends.cluster.version_manifests import VERSION_MANIFESTS, next_version, with_manifest_versions, with_scalar
    from wiring.composition import open_cluster

    world = open_cluster(target, plan)
    stable = selected_version(world, Track.STABLE)
    if stable == plan.stable.version:
        raise PlanError(f"promote --write: stable means {stable} on the cluster, allowed: {plan.canary.version}")
    if stable != plan.canary.version:
        raise PlanError(f"promote --write: stable means {stable} on the cluster, which {plan_file} does not know")
    if target.files is None:
        raise PlanError("--files: missing, there is no folder istio beside the plan; name the folder of resting routes")
    following = following or next_version(stable)
    resting = target.files / VERSION_MANIFESTS[target.kind]
    names = world.settings.destinations
    text = with_manifest_versions(read_text(resting), {names.stable: stable, names.canary: following})
    planned = with_scalar(read_text(plan_file), ("stable", "version"), stable)
    planned = with_scalar(planned, ("canary", "version"), following)
    parse_plan(planned, source="--next")
    write_text(resting, text)
    write_text(plan_file, planned)
    print_line(f"{resting}: {names.stable} selects {stable}, {names.canary} selects {following}")
    print_line(f"{plan_file}: stable {stable}, canary {following}")
    print_line("commit both, and apply the first: it moves no traffic")
