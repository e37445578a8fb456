"""What `canary plan` and `canary backtest` judge by: a plan, with what the command line says instead of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer

from backends.prometheus.address import Address
from backends.prometheus.http_config import Access
from rollout.errors import PlanError
from rollout.plan import RolloutPlan, validate_plan
from rollout.quantities import format_duration, format_percent, parse_duration, parse_percent
from wiring.files import read_plan, with_profile
from wiring.target import readable

Parsed = TypeVar("Parsed")

PLAN_FILE: Final = "rollout.yaml"
Plan = Annotated[
    Path | None, typer.Option(help="The rollout plan; rollout.yaml here unless said, else the strategy's.")
]
Alpha = Annotated[str, typer.Option(help="Chance of a false rollback, such as 1%, instead of the plan's.")]
Server = Annotated[str, typer.Option(help="A live Prometheus server, such as http://127.0.0.1:9090.")]
ServerConfig = Annotated[
    Path | None, typer.Option(help="With --prometheus: how one gets in to it, in the words of its http_config.")
]
Profile = Annotated[
    str, typer.Option(help="With --prometheus: where it has what, such as traefik, instead of the plan's profile.")
]


def server_at(text: str, config: Path | None) -> tuple[Address, Access]:
    """Return a server's address and how one gets in to it."""
    from wiring.composition import way_to_prometheus

    address, access = way_to_prometheus(Address(text), readable(config, "--prometheus-config"))
    address.check("--prometheus")
    return address, access.load()


def load_plan(path: Path | None) -> RolloutPlan:
    """Return the plan of a file; without one that of this folder, else the strategy's own."""
    here = Path(__file__).resolve()
    places = [Path(PLAN_FILE), here.parents[0] / PLAN_FILE, here.parents[1] / PLAN_FILE]
    file = path or next((place for place in places if place.is_file()), None)
    if file is None:
        raise PlanError(f"--plan: no {PLAN_FILE} in this folder, allowed: the name of a plan")
    return read_plan(file)


def named_plan(path: Path | None, profile: str) -> RolloutPlan:
    """Return the plan of a file, with the profile that is named instead of its own."""
    plan = load_plan(path)
    return with_profile(plan, profile, Path()) if profile else plan


def with_options(plan: RolloutPlan, *, alpha: str = "", warm_up: str = "", bake: str = "") -> RolloutPlan:
    """Return the plan with what was said on the command line instead of its own."""
    changes: dict[str, Any] = {}
    written = plan.model_dump(mode="json")
    if alpha:
        changes["alpha"] = format_percent(parse_chance("--alpha", alpha))
    if warm_up:
        changes["warm_up"] = format_duration(parse_option("--warmup", warm_up, parse_duration))
    if bake:
        time = format_duration(parse_option("--bake", bake, parse_duration))
        steps = [{key: step[key] for key in ("name", "canary", "replicas")} for step in written["steps"]]
        changes["steps"] = [step | {"bake": time} for step in steps]
    return validate_plan(written | changes, source="options") if changes else plan


def parse_chance(option: str, text: str) -> float:
    """Return a chance above 0 and below 50 %, written as `1%` or as `0.01`."""
    chance = parse_option(option, text, parse_ratio)
    if not 0 < chance < 0.5:
        raise PlanError(f"{option}: got {text!r}, allowed: above 0% and below 50%")
    return chance


def parse_option(option: str, text: str, parse: Callable[[str], Parsed]) -> Parsed:
    """Return what an option's text means, or raise PlanError that names the option."""
    try:
        return parse(text)
    except ValueError as error:
        raise PlanError(f"{option}: got {text!r}, {error}") from error


def parse_ratio(text: str) -> float:
    """Return a ratio written as `1%` or as `0.01`, or raise ValueError."""
    try:
        return float(text)
    except ValueError:
        return parse_percent(text)
