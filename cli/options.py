"""The options that say where a rollout takes place, made from the fields of the target."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import typer
from pydantic.fields import FieldInfo

from backends.cluster.cluster_target import Taker
from wiring.hook_commands import trust
from wiring.target import Target, cluster_field, named_target, readable, with_resting_routes

R = TypeVar("R")
PlanOption = Annotated[
    Path, typer.Option(help="The rollout plan; names service and versions on a cluster, not read for the embedded one.")
]
ReasonOption = Annotated[str, typer.Option(help="Why, for the record.")]
RolloutArgument = Annotated[str, typer.Argument(help="Name of the rollout; the one under way unless given.")]
_BACKEND_HELP = "Where; cluster when KUBECONFIG or an option below names one and --state is not given, else local."


def takes_target(taker: Taker, model: type[Target] = Target) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Give a command the options that name its target; it gets them as `target`.

    Parameters
    ----------
    taker
        Which kind of command it is.
    model
        The kind of target.
    """

    def decorate(command: Callable[..., R]) -> Callable[..., R]:
        own = _own_parameters(command)
        options = [option for option in target_options(taker, model) if option.name not in {each.name for each in own}]

        def with_target(**given: Any) -> R:
            named = {option.name: given.pop(option.name) for option in options}
            trust(given["plan"])
            return command(target=_target(taker, model, given["plan"], named), **given)

        with_target.__name__, with_target.__doc__ = command.__name__, command.__doc__
        with_target.__signature__ = Signature([*own, *options])  # type: ignore[attr-defined]
        with_target.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *options)}
        return with_target

    return decorate


def target_options(taker: Taker, model: type[Target] = Target) -> list[Parameter]:
    """Return an option for each field of a target that such a command takes; None where it is left out."""
    return [
        Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=_option(name, field))
        for name, field in model.model_fields.items()
        if (mark := cluster_field(field)) is None or taker in mark.takers
    ]


def _option(name: str, field: FieldInfo) -> Any:
    text = _BACKEND_HELP if name == "backend" else field.description
    panel = "Cluster" if cluster_field(field) else None
    return Annotated[_typed_as(field) | None, typer.Option(help=text, rich_help_panel=panel)]


def _typed_as(field: FieldInfo) -> Any:
    """Return the type of what is typed for a field; what the command line does not know is a text to the target."""
    kinds = [kind for kind in get_args(field.annotation) if kind is not type(None)] or [field.annotation]
    if get_origin(field.annotation) is Literal:
        return field.annotation
    return kinds[0] if kinds[0] in (str, int, float, bool, Path) else str


def _own_parameters(command: Callable[..., R]) -> list[Parameter]:
    hints = get_type_hints(command, include_extras=True)
    parameters = signature(command).parameters.items()
    return [parameter.replace(annotation=hints[name]) for name, parameter in parameters if name != "target"]


def _target(taker: Taker, model: type[Target], plan: Path, named: dict[str, Any]) -> Target:
    files = {
        name: readable(named[name], f"--{name.replace('_', '-')}")
        for name, field in model.model_fields.items()
        if name in named and (mark := cluster_field(field)) and mark.is_file
    }
    target = named_target(model=model, **(named | files))
    return target if taker is Taker.SIGNAL else with_resting_routes(target, plan)
