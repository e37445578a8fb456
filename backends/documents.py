"""Pure functions on Kubernetes documents: where the split stands, and the JSON patch that changes it alone.

Documents are plain dictionaries, as the API server sends them. A patch names single fields: `spec.http` of a
VirtualService is an atomic list, so that anything coarser would take other people's timeouts and retries with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal

from backends.members import Document as Document
from backends.members import annotation, entries, mapping
from rollout.errors import PlanError
from rollout.model import Weights
from rollout.ports import DRILL_HEADER

Operation = dict[str, Any]
"""One step of a JSON patch (RFC 6902)."""

EPOCH: Final = "canary-pipeline/epoch"
"""Annotation of the route: grows with each new owner, and with each emergency rollback."""
ABORT: Final = "canary-pipeline/abort"
"""Annotation of the route: a reason to roll back, said with nothing but kubectl."""

DRILL: Final = "canary-drill"
"""Name of the route that a drill adds, and that goes with the next write of the split."""


@dataclass(frozen=True, slots=True)
class Destinations:
    """How the two tracks are named in a route.

    A VirtualService names one host with two subsets; an HTTPRoute has no subsets and names two Services.
    """

    stable: str
    canary: str
    host: str = ""
    """The host of both subsets, short or fully qualified; not used in an HTTPRoute."""
    route: str = ""
    """Name of the route within the document, where several have both destinations."""


@dataclass(frozen=True, slots=True)
class Route:
    """Where a document says how the traffic is split, and what it says."""

    stable: str
    """JSON pointer of stable's entry, such as `/spec/http/1/route/0`."""
    canary: str
    """JSON pointer of the canary's entry."""
    written: tuple[int, int]
    """The two weights as they are written."""

    @property
    def weights(self) -> Weights:
        """The shares that the written weights amount to; a track with any traffic never counts as one without."""
        stable, canary = self.written
        if stable + canary <= 0:
            raise PlanError(f"{self.canary}: weights {stable}/{canary}, allowed: a sum above 0")
        share = round(100 * canary / (stable + canary))
        return Weights.with_canary(min(max(share, 1 if canary else 0), 99 if stable else 100))

    def says(self, weights: Weights) -> bool:
        """Return whether just these weights are written."""
        return self.written == (weights.stable, weights.canary)


def find_route(document: Document, wanted: Destinations) -> Route:
    """Return the one route that splits between the two destinations.

    Parameters
    ----------
    document
        A VirtualService or an HTTPRoute.
    wanted
        The destinations; routes to one of them alone, such as testers', are passed over.

    Raises
    ------
    PlanError
        When there is none, when there are several and none was named, or when a third destination gets traffic.
    """
    found = [rule for rule in _rules(document) if _fits(rule, wanted)]
    if len(found) != 1:
        raise PlanError(f"{title(document)}: {_miss(found, wanted)}")
    rule = found[0]
    stable, canary = rule.indices(wanted.stable, wanted.host)[0], rule.indices(wanted.canary, wanted.host)[0]
    if any(entry.weight for number, entry in enumerate(rule.entries) if number not in (stable, canary)):
        raise PlanError(f"{title(document)}: {rule.pointer} sends traffic to a third destination too")
    written = (rule.entries[stable].weight, rule.entries[canary].weight)
    return Route(f"{rule.pointer}/{stable}", f"{rule.pointer}/{canary}", written)


def with_weights(
    document: Document, wanted: Destinations, weights: Weights, *, epoch: int | None = None
) -> tuple[Operation, ...]:
    """Return the JSON patch that writes this split, and nothing else.

    It applies only to the very document that was read, and with an epoch only while that is the route's. The route of
    a drill, if there is one, goes with it.
    """
    route = find_route(document, wanted)
    fence = () if epoch is None else (_test(f"/metadata/annotations/{escaped(EPOCH)}", str(epoch)),)
    return (
        *unchanged(document),
        *fence,
        _add(f"{route.stable}/weight", weights.stable),
        _add(f"{route.canary}/weight", weights.canary),
        *({"op": "remove", "path": path} for path in _drill_routes(document)),
    )


def with_drill(
    document: Document, wanted: Destinations, marker: str, delay: timedelta, *, epoch: int | None = None
) -> tuple[Operation, ...]:
    """Return the JSON patch that sends a drill's marked requests to the canary, each of them this much late.

    The new rule stands before the live one and is like it in everything else: matches, rewrites, headers, time limits.
    A delay is the fault because the requests really reach the canary's pods: an error that Istio injects is its own
    answer, counted for no version.

    Raises
    ------
    PlanError
        When the document is no VirtualService.
    """
    check_drill(document)
    place, rule, _ = _mirrored_rule(document, wanted)
    entry = rule["route"][int(find_route(document, wanted).canary.rpartition("/")[2])]
    marked = {key: value for key, value in rule.items() if not key.startswith("mirror")} | {
        "name": DRILL,
        "match": [_marked(match, marker) for match in entries(rule, "match") or [{}]],
        "fault": {"delay": {"fixedDelay": f"{delay.total_seconds():g}s", "percentage": {"value": 100.0}}},
        "route": [{key: value for key, value in entry.items() if key != "weight"}],
    }
    fence = () if epoch is None else (_test(f"/metadata/annotations/{escaped(EPOCH)}", str(epoch)),)
    return (*unchanged(document), *fence, _add(place, marked))


def check_drill(document: Document) -> None:
    """Return when a drill's requests can be told apart and be made to fail on the way to the canary.

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
    document: Document, wanted: Destinations, share: int, *, epoch: int | None = None
) -> tuple[Operation, ...]:
    """Return the JSON patch that lets the live route copy this percentage of its requests to the canary; 0: none.

    Raises
    ------
    PlanError
        When the document is no VirtualService, or its route has a mirror of somebody else's.
    """
    if document.get("kind") != "VirtualService":
        raise PlanError(f"{title(document)}: cannot mirror a percentage, allowed: a VirtualService, or a plan without")
    place, rule, canary = _mirrored_rule(document, wanted)
    there = [key for key in ("mirror", "mirrorPercentage", "mirrors", "mirror_percent") if rule.get(key) is not None]
    is_ours = rule.get("mirror") == canary and there == ["mirror", "mirrorPercentage"]
    if there and not is_ours and share:
        raise PlanError(f"{title(document)}: {place} mirrors to somebody else, allowed: a route without a mirror")
    fence = () if epoch is None else (_test(f"/metadata/annotations/{escaped(EPOCH)}", str(epoch)),)
    change: tuple[Operation, ...] = ()
    if share:
        percentage = {"value": float(share)}
        change = (_add(f"{place}/mirror", canary), _add(f"{place}/mirrorPercentage", percentage))
    elif is_ours:
        change = tuple({"op": "remove", "path": f"{place}/{key}"} for key in there)
    return (*unchanged(document), *fence, *change) if change else ()


def _mirrored_rule(document: Document, wanted: Destinations) -> tuple[str, Document, Document]:
    """Return where the live route lies, the route itself, and its destination of the canary."""
    route = find_route(document, wanted)
    place, _, entry = route.canary.rpartition("/route/")
    rule: Document = document["spec"]["http"][int(place.rpartition("/")[2])]
    return place, rule, rule["route"][int(entry)]["destination"]


def unchanged(document: Document) -> tuple[Operation, ...]:
    """Return the precondition that the document is still the one that was read."""
    return (_test("/metadata/resourceVersion", document["metadata"]["resourceVersion"]),)


def with_epoch(document: Document, epoch: int) -> tuple[Operation, ...]:
    """Return the JSON patch that lets a new epoch begin: older writers are fenced off, old words are forgotten."""
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
    """Who wrote a field last, by the server's own books."""

    name: str
    operation: Literal["Apply", "Update"]
    at: str

    def __str__(self) -> str:
        how = "by server-side apply" if self.operation == "Apply" else "by an update"
        return f"{self.name} ({how}, {self.at})"


def last_writer(document: Document, *path: str) -> Writer | None:
    """Return who wrote a field last, such as `last_writer(virtual_service, "spec", "http")`."""
    owners = [one for one in entries(document, "metadata", "managedFields") if _owns(mapping(one, "fieldsV1"), path)]
    if not owners:
        return None
    last = max(owners, key=lambda one: str(one.get("time", "")))
    operation: Literal["Apply", "Update"] = "Apply" if last.get("operation") == "Apply" else "Update"
    return Writer(last.get("manager") or "unknown", operation, last.get("time") or "at an unknown time")


def escaped(key: str) -> str:
    """Return a key as a part of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


@dataclass(frozen=True, slots=True)
class _Entry:
    host: str
    subset: str
    weight: int


@dataclass(frozen=True, slots=True)
class _Rule:
    name: str
    pointer: str
    entries: tuple[_Entry, ...]
    has_subsets: bool

    def indices(self, name: str, host: str) -> list[int]:
        """Return which entries a destination has."""
        return [number for number, entry in enumerate(self.entries) if self._is(entry, name, host)]

    def _is(self, entry: _Entry, name: str, host: str) -> bool:
        return entry.subset == name and _same_host(entry.host, host) if self.has_subsets else entry.host == name


def _rules(document: Document) -> Iterator[_Rule]:
    if document.get("kind") == "HTTPRoute":
        for number, rule in enumerate(entries(document, "spec", "rules")):
            backends = tuple(map(_backend, entries(rule, "backendRefs")))
            yield _Rule(rule.get("name") or "", f"/spec/rules/{number}/backendRefs", backends, has_subsets=False)
        return
    for number, rule in enumerate(entries(document, "spec", "http")):
        route = tuple(map(_destination, entries(rule, "route")))
        yield _Rule(rule.get("name") or "", f"/spec/http/{number}/route", route, has_subsets=True)


def _backend(ref: Document) -> _Entry:
    weight = ref.get("weight")
    return _Entry(ref.get("name") or "", "", 1 if weight is None else weight)


def _destination(entry: Document) -> _Entry:
    destination = mapping(entry, "destination")
    return _Entry(destination.get("host") or "", destination.get("subset") or "", entry.get("weight") or 0)


def _fits(rule: _Rule, wanted: Destinations) -> bool:
    if wanted.route and rule.name != wanted.route:
        return False
    return all(len(rule.indices(name, wanted.host)) == 1 for name in (wanted.stable, wanted.canary))


def _same_host(found: str, wanted: str) -> bool:
    """Return whether two hosts are one Service, when either may be written short."""
    parts, others = found.split("."), wanted.split(".")
    shared = min(len(parts), len(others))
    return parts[:shared] == others[:shared]


def _miss(found: Sequence[_Rule], wanted: Destinations) -> str:
    what = f"between {wanted.stable} and {wanted.canary}" + (f" of {wanted.host}" if wanted.host else "")
    if not found:
        named = f" named {wanted.route}" if wanted.route else ""
        return f"no route{named} {what}; it has to list both destinations, also the one without traffic"
    pointers = ", ".join(f"{rule.name or '(no name)'} at {rule.pointer}" for rule in found)
    return f"{len(found)} routes {what}: {pointers}; name one"


def title(document: Document) -> str:
    """Return what to call a document in an error."""
    metadata = document["metadata"]
    return f"{document.get('kind', 'object')} {metadata.get('namespace') or ''}/{metadata['name']}"


def _owns(fields: Mapping[str, Any], path: Sequence[str]) -> bool:
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
