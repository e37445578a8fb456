"""Pure functions on Kubernetes documents: where the split stands, and the JSON patch that changes it alone.

Documents are plain dictionaries, as the API server sends them. A patch names single fields: `spec.http` of a
VirtualService is an atomic list, so that anything coarser would take other people's timeouts and retries with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal

from backends.document_fields import Document as Document
from backends.document_fields import annotation, entries, mapping
from backends.route_splits import Destinations as Destinations
from backends.route_splits import SplitRoute, find_split, title
from rollout.errors import PlanError
from rollout.model import Weights
from rollout.ports import DRILL_HEADER

Operation = dict[str, Any]
"""One step of a JSON patch (RFC 6902)."""

EPOCH: Final = "canary-pipeline/epoch"
"""Annotation of the route: grows with each new owner, and with each emergency rollback."""
ABORT: Final = "canary-pipeline/abort"
"""Annotation of the route: a reason to roll back, written with nothing but kubectl."""

DRILL: Final = "canary-drill"
"""Name of the route that a drill adds, and that goes with the next write of the split."""


def with_weights(
    document: Document, tracks: Destinations, weights: Weights, *, epoch: int | None = None
) -> tuple[Operation, ...]:
    """Return the JSON patch that writes this split into every route that has it, and nothing else.

    It applies only to the very document that was read, and with an epoch only while that is the route's. The route of
    a drill, if there is one, goes with it.
    """
    return (
        *unchanged(document),
        *_fence(epoch),
        *(
            operation
            for route in find_split(document, tracks).routes
            for operation in _weight_operations(route, weights)
        ),
        *({"op": "remove", "path": path} for path in _drill_routes(document)),
    )


def _weight_operations(route: SplitRoute, weights: Weights) -> tuple[Operation, ...]:
    return _add(f"{route.stable}/weight", weights.stable), _add(f"{route.canary}/weight", weights.canary)


def with_drill(
    document: Document, tracks: Destinations, marker: str, delay: timedelta, *, epoch: int | None = None
) -> tuple[Operation, ...]:
    """Return the JSON patch that sends a drill's marked requests to the canary, each of them this much late.

    Each new rule stands before its live one and is like it in everything else: matches, rewrites, headers, time limits.
    A delay is the fault because the requests really reach the canary's pods: an error that Istio injects is its own
    answer, counted for no version.

    Raises
    ------
    PlanError
        When the document is no VirtualService.
    """
    check_drill(document)
    # The last one first, so that adding one moves no other.
    routes = reversed(find_split(document, tracks).routes)
    drills = (_add(route.rule, _drill_rule(document, route, marker, delay)) for route in routes)
    return (*unchanged(document), *_fence(epoch), *drills)


def _drill_rule(document: Document, route: SplitRoute, marker: str, delay: timedelta) -> Document:
    rule, entry = _rule_of(document, route)
    return {key: value for key, value in rule.items() if not key.startswith("mirror")} | {
        "name": DRILL,
        "match": [_marked(match, marker) for match in entries(rule, "match") or [{}]],
        "fault": {"delay": {"fixedDelay": f"{delay.total_seconds():g}s", "percentage": {"value": 100.0}}},
        "route": [{key: value for key, value in entry.items() if key != "weight"}],
    }


def check_drill(document: Document) -> None:
    """Return where a drill's marked requests can be made to fail on their way to the canary.

    Raises
    ------
    PlanError
        When the document is no VirtualService, or has a drill's route already.
    """
    if document.get("kind") != "VirtualService":
        raise PlanError(f"{title(document)}: cannot let marked requests fail, allowed: a VirtualService")
    if has_drill(document):
        raise PlanError(f"{title(document)}: has the route {DRILL} of a drill already, allowed: none; `canary restore`")


def has_drill(document: Document) -> bool:
    """Return whether a drill's route stands there."""
    return bool(_drill_routes(document))


def _drill_routes(document: Document) -> list[str]:
    """Return where drills' routes stand, the last one first, so that removing one moves no other."""
    rules = list(enumerate(entries(document, "spec", "http")))
    return [f"/spec/http/{number}" for number, rule in reversed(rules) if rule.get("name") == DRILL]


def _marked(match: Document, marker: str) -> Document:
    return match | {"headers": mapping(match, "headers") | {DRILL_HEADER: {"exact": marker}}}


def with_mirror(
    document: Document, tracks: Destinations, share: int, *, epoch: int | None = None
) -> tuple[Operation, ...]:
    """Return the JSON patch that lets the live route copy this percentage of its requests to the canary; 0: none.

    Raises
    ------
    PlanError
        When the document is no VirtualService, or its route has a mirror of somebody else's.
    """
    if document.get("kind") != "VirtualService":
        raise PlanError(f"{title(document)}: cannot mirror a percentage, allowed: a VirtualService, or a plan without")
    routes = find_split(document, tracks).routes
    changes = [operation for route in routes for operation in _mirror_operations(document, route, share)]
    return (*unchanged(document), *_fence(epoch), *changes) if changes else ()


def _mirror_operations(document: Document, route: SplitRoute, share: int) -> tuple[Operation, ...]:
    rule, entry = _rule_of(document, route)
    canary = mapping(entry, "destination")
    present = [key for key in ("mirror", "mirrorPercentage", "mirrors", "mirror_percent") if rule.get(key) is not None]
    is_ours = rule.get("mirror") == canary and present == ["mirror", "mirrorPercentage"]
    if present and not is_ours and share:
        raise PlanError(f"{title(document)}: {route.rule} mirrors to somebody else, allowed: a route without a mirror")
    if share:
        percentage = {"value": float(share)}
        return _add(f"{route.rule}/mirror", canary), _add(f"{route.rule}/mirrorPercentage", percentage)
    return tuple({"op": "remove", "path": f"{route.rule}/{key}"} for key in present) if is_ours else ()


def _rule_of(document: Document, route: SplitRoute) -> tuple[Document, Document]:
    """Return a route as it is written in a VirtualService, and its entry of the canary."""
    number, entry = int(route.rule.rpartition("/")[2]), int(route.canary.rpartition("/")[2])
    rule = entries(document, "spec", "http")[number]
    return rule, entries(rule, "route")[entry]


def _fence(epoch: int | None) -> tuple[Operation, ...]:
    return () if epoch is None else (_test(f"/metadata/annotations/{escaped(EPOCH)}", str(epoch)),)


def unchanged(document: Document) -> tuple[Operation, ...]:
    """Return the precondition that the document is still the one that was read."""
    return (_test("/metadata/resourceVersion", document["metadata"]["resourceVersion"]),)


def with_epoch(document: Document, epoch: int) -> tuple[Operation, ...]:
    """Return the JSON patch that lets a new epoch begin: older writers are fenced off, an old abort is removed."""
    annotations = mapping(document, "metadata", "annotations")
    empty = () if annotations else (_add("/metadata/annotations", {}),)
    forget = ({"op": "remove", "path": f"/metadata/annotations/{escaped(ABORT)}"},)
    return (
        *unchanged(document),
        *empty,
        _add(f"/metadata/annotations/{escaped(EPOCH)}", str(epoch)),
        *(forget if ABORT in annotations else ()),
    )


def epoch_of(document: Document) -> int:
    """Return the route's epoch; 0 before the first owner, and where somebody wrote what is no number."""
    epoch = annotation(document, EPOCH)
    return int(epoch) if epoch.isascii() and epoch.isdigit() else 0


def abort_of(document: Document) -> str:
    """Return the reason to roll back that stands on the route, or nothing."""
    return annotation(document, ABORT)


def with_subset(destination_rule: Document, subset: str, version: str) -> tuple[Operation, ...]:
    """Return the JSON patch that lets a subset of a DestinationRule select another version's pods."""
    for number, entry in enumerate(entries(destination_rule, "spec", "subsets")):
        if entry.get("name") == subset:
            place = f"/spec/subsets/{number}/labels"
            labelled = _add(f"{place}/version", version) if entry.get("labels") else _add(place, {"version": version})
            return (*unchanged(destination_rule), labelled)
    raise PlanError(f"{title(destination_rule)}: no subset {subset}")


def with_selector(service: Document, version: str) -> tuple[Operation, ...]:
    """Return the JSON patch that lets a Service select another version's pods.

    Raises
    ------
    PlanError
        When it selects no pods: by the version alone it would select those of other services too.
    """
    if not mapping(service, "spec", "selector"):
        raise PlanError(f"{title(service)}: selects no pods, allowed: a selector")
    return (*unchanged(service), _add("/spec/selector/version", version))


def subset_labels(destination_rule: Document) -> dict[str, dict[str, str]]:
    """Return which labels each subset of a DestinationRule selects."""
    subsets = entries(destination_rule, "spec", "subsets")
    return {subset["name"]: mapping(subset, "labels") for subset in subsets if "name" in subset}


@dataclass(frozen=True, slots=True)
class Writer:
    """Who wrote a field last, by the server's managed fields."""

    name: str
    operation: Literal["Apply", "Update"]
    at: str

    def __str__(self) -> str:
        how = "by server-side apply" if self.operation == "Apply" else "by an update"
        return f"{self.name} ({how}, {self.at})"


def last_writer(document: Document, *path: str) -> Writer | None:
    """Return who wrote a field last, such as `last_writer(virtual_service, "spec", "http")`."""
    owners = [
        entry for entry in entries(document, "metadata", "managedFields") if _manages(mapping(entry, "fieldsV1"), path)
    ]
    if not owners:
        return None
    last = max(owners, key=lambda entry: str(entry.get("time", "")))
    operation: Literal["Apply", "Update"] = "Apply" if last.get("operation") == "Apply" else "Update"
    return Writer(last.get("manager") or "unknown", operation, last.get("time") or "at an unknown time")


def escaped(key: str) -> str:
    """Return a key as a part of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


def _manages(fields: Mapping[str, Any], path: Sequence[str]) -> bool:
    for part in path:
        if f"f:{part}" not in fields:
            return False
        fields = mapping(fields, f"f:{part}")
    return True


def _test(path: str, value: Any) -> Operation:
    return {"op": "test", "path": path, "value": value}


def _add(path: str, value: Any) -> Operation:
    # RFC 6902: on a member that exists, `add` replaces it.
    return {"op": "add", "path": path, "value": value}
