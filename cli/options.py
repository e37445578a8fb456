"""The options that say where a rollout takes place, declared once for every command that has to know."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from wiring.hook_commands import trust
from wiring.target import Backend, RouteKind, Target, cluster_target, named_target, readable

R = TypeVar("R")
PlanOption = Annotated[
    Path, typer.Option(help="The rollout plan; names service and versions on a cluster, not read for the embedded one.")
]
BackendOption = Annotated[
    Backend | None,
    typer.Option(
        help="Where; cluster when KUBECONFIG or an option below names one and --state is not given, else local."
    ),
]
StateOption = Annotated[Path | None, typer.Option(help="State folder of the embedded backend.")]
ServiceOption = Annotated[
    str,
    typer.Option("--service", help="One with a rollout on record; the plan's unless said.", rich_help_panel="Cluster"),
]
NamespaceOption = Annotated[str, typer.Option(help="Namespace of the service.", rich_help_panel="Cluster")]
ContextOption = Annotated[str, typer.Option(help="Context of the kubeconfig.", rich_help_panel="Cluster")]
KubeconfigOption = Annotated[Path | None, typer.Option(help="The kubeconfig.", rich_help_panel="Cluster")]
PrometheusOption = Annotated[str, typer.Option(help="Where Prometheus answers.", rich_help_panel="Cluster")]
PrometheusConfigOption = Annotated[
    Path | None,
    typer.Option(help="How one gets in to it: a file in the words of its http_config.", rich_help_panel="Cluster"),
]
ImageOption = Annotated[str, typer.Option(help="The canary's image.", rich_help_panel="Cluster")]
ContainerOption = Annotated[
    str, typer.Option(help="The container that gets the image, of several.", rich_help_panel="Cluster")
]
KindOption = Annotated[RouteKind | None, typer.Option(help="What holds the split.", rich_help_panel="Cluster")]
DocumentOption = Annotated[str, typer.Option(help="Its name; the service's unless said.", rich_help_panel="Cluster")]
FilesOption = Annotated[
    Path | None,
    typer.Option(help="Folder of the resting routes; istio beside the plan, where it is.", rich_help_panel="Cluster"),
]
RouteOption = Annotated[
    str,
    typer.Option(
        help="The routes in it, by names or indices: api,live; all that fit unless said.", rich_help_panel="Cluster"
    ),
]
_Options = Mapping[str, tuple[Any, Any]]
_WHERE: _Options = {
    "backend": (BackendOption, None),
    "state": (StateOption, None),
    "namespace": (NamespaceOption, ""),
    "context": (ContextOption, ""),
    "kubeconfig": (KubeconfigOption, None),
    "kind": (KindOption, None),
    "document": (DocumentOption, ""),
    "route": (RouteOption, ""),
}
_ORDER: _Options = {**_WHERE, "service": (ServiceOption, "")}
_RELEASE: _Options = {
    **_WHERE,
    "prometheus": (PrometheusOption, ""),
    "prometheus_config": (PrometheusConfigOption, None),
    "image": (ImageOption, ""),
    "container": (ContainerOption, ""),
    "files": (FilesOption, None),
}


def takes_target(command: Callable[..., R]) -> Callable[..., R]:
    """Give a command the options that name a running service; it gets them as `target`."""
    return _with_options(command, _ORDER, lambda _plan, backend, state, **named: named_target(backend, state, **named))


def takes_release_target(command: Callable[..., R]) -> Callable[..., R]:
    """Give a command the options that a release needs too: its image, its Prometheus, the folder of resting routes."""
    return _with_options(command, _RELEASE, _release_target)


def _release_target(plan: Path, backend: Any, state: Any, files: Any, kubeconfig: Any, **named: Any) -> Target:
    named["prometheus_config"] = readable(named["prometheus_config"], "--prometheus-config")
    return cluster_target(backend, state, plan, files, kubeconfig=readable(kubeconfig), **named)


def _with_options(command: Callable[..., R], options: _Options, target_of: Callable[..., Target]) -> Callable[..., R]:
    hints = get_type_hints(command, include_extras=True)
    own = [
        parameter.replace(annotation=hints[name])
        for name, parameter in signature(command).parameters.items()
        if name != "target"
    ]
    added = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in options.items()
        if name not in hints
    ]

    def with_target(**given: Any) -> R:
        where = {option.name: given.pop(option.name) for option in added}
        trust(given["plan"])
        return command(target=target_of(given["plan"], **where), **given)

    with_target.__name__, with_target.__doc__ = command.__name__, command.__doc__
    with_target.__signature__ = Signature([*own, *added])  # type: ignore[attr-defined]
    with_target.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *added)}
    return with_target
