"""Where a VirtualService or an HTTPRoute splits the traffic between our two destinations. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from backends.document_members import Document, entries, mapping
from rollout.errors import PlanError
from rollout.model import Weights


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
    """Names or indices of the routes that are meant, separated by commas; empty for all that have both destinations."""

    @property
    def routes(self) -> tuple[str, ...]:
        """The names or indices of the routes that are meant; empty for all."""
        return tuple(name for text in self.route.split(",") if (name := text.strip()))


@dataclass(frozen=True, slots=True)
class Route:
    """One route that splits the traffic, and what it says."""

    rule: str
    """JSON pointer of the route, such as `/spec/http/1`."""
    stable: str
    """JSON pointer of stable's entry, such as `/spec/http/1/route/0`."""
    canary: str
    """JSON pointer of the canary's entry."""
    written: tuple[int, int]
    """The two weights as they are written."""
    name: str = ""

    @property
    def canary_percent(self) -> float:
        """The canary's share that the written weights amount to, in percent."""
        stable, canary = self.written
        if stable + canary <= 0:
            raise PlanError(f"{self.canary}: weights {stable}/{canary}, allowed: a sum above 0")
        return 100 * canary / (stable + canary)


@dataclass(frozen=True, slots=True)
class Split:
    """All routes of a document that split the traffic, which say the same unless somebody else has written."""

    routes: tuple[Route, ...]

    @property
    def weights(self) -> Weights:
        """The shares that the written weights amount to; a track with any traffic never counts as one without."""
        shares = [route.canary_percent for route in self.routes]
        least, most = (1 if any(shares) else 0), (99 if any(share < 100 for share in shares) else 100)
        return Weights.with_canary(min(max(round(fmean(shares)), least), most))

    def says(self, weights: Weights) -> bool:
        """Return whether just these weights are written, in every route."""
        return all(route.written == (weights.stable, weights.canary) for route in self.routes)


def find_split(document: Document, wanted: Destinations) -> Split:
    """Return the routes that split between the two destinations.

    Parameters
    ----------
    document
        A VirtualService or an HTTPRoute.
    wanted
        The destinations; routes to one of them alone, such as testers', are passed over.

    Raises
    ------
    PlanError
        When there is none, when one that was named does not, or when a third destination gets traffic.
    """
    split = [rule for rule in rules(document) if rule.splits(wanted)]
    if not split:
        raise PlanError(f"{title(document)}: {_why_none(document, wanted)}")
    meant = [rule for rule in split if not wanted.routes or any(rule.is_called(name) for name in wanted.routes)]
    for name in wanted.routes:
        if not any(rule.is_called(name) for rule in meant):
            raise PlanError(
                f"{title(document)}: route {name!r} does not lead to both {wanted.stable} and {wanted.canary}, "
                f"allowed: {', '.join(map(str, split))}"
            )
    return Split(tuple(_route(document, rule, wanted) for rule in meant))


def unnamed(document: Document, wanted: Destinations) -> tuple[str, ...]:
    """Return the routes between both destinations that were left out where some were named."""
    meant = {route.rule for route in find_split(document, wanted).routes}
    return tuple(str(rule) for rule in rules(document) if rule.splits(wanted) and rule.place not in meant)


def title(document: Document) -> str:
    """Return what to call a document in an error."""
    metadata = mapping(document, "metadata")
    return f"{document.get('kind', 'object')} {metadata.get('namespace') or ''}/{metadata.get('name')}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One destination of a route."""

    service: str
    """Its Service, without the namespace."""
    namespace: str
    subset: str
    weight: int
    is_service: bool = True
    """False for what only looks like a Service of the cluster: a host outside, another kind of backend."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One HTTP route, with its destinations."""

    name: str
    index: int
    place: str
    """JSON pointer, such as `/spec/http/1`."""
    entries_at: str
    """JSON pointer of its destinations."""
    entries: tuple[Entry, ...]
    has_subsets: bool
    namespace: str
    """The document's own."""

    def __str__(self) -> str:
        return f"{self.name or self.index} at {self.place}"

    def is_called(self, name: str) -> bool:
        """Return whether a person means this route: by its name, or by its index where it has none."""
        return self.name == name if self.name else str(self.index) == name

    def splits(self, wanted: Destinations) -> bool:
        """Return whether it has each of the two destinations, once."""
        return all(len(self.indices(name, wanted.host)) == 1 for name in (wanted.stable, wanted.canary))

    def indices(self, name: str, host: str) -> list[int]:
        """Return which entries a destination has."""
        return [number for number, entry in enumerate(self.entries) if self._is(entry, name, host)]

    def _is(self, entry: Entry, name: str, host: str) -> bool:
        if not self.has_subsets:
            return entry.is_service and (entry.service, entry.namespace) == (name, self.namespace)
        return entry.subset == name and is_host(entry, host, self.namespace)


def is_host(entry: Entry, host: str, namespace: str) -> bool:
    """Return whether an entry leads to a Service, however either of them is written."""
    service, of, is_service = _resolved(host, namespace)
    return (entry.service, entry.namespace, entry.is_service) == (service, of, is_service)


def rules(document: Document) -> Iterator[Rule]:
    """Return the HTTP routes of a VirtualService or an HTTPRoute."""
    namespace = str(mapping(document, "metadata").get("namespace") or "")
    is_gateway_api = document.get("kind") == "HTTPRoute"
    members, inner = ("rules", "backendRefs") if is_gateway_api else ("http", "route")
    for number, rule in enumerate(entries(document, "spec", members)):
        place = f"/spec/{members}/{number}"
        read = _backend if is_gateway_api else _destination
        yield Rule(
            name=rule.get("name") or "",
            index=number,
            place=place,
            entries_at=f"{place}/{inner}",
            entries=tuple(read(entry, namespace) for entry in entries(rule, inner)),
            has_subsets=not is_gateway_api,
            namespace=namespace,
        )


def _backend(ref: Document, namespace: str) -> Entry:
    weight = ref.get("weight")
    is_service = (ref.get("group") or "", ref.get("kind") or "Service") == ("", "Service")
    written = 1 if weight is None else weight
    return Entry(ref.get("name") or "", ref.get("namespace") or namespace, "", written, is_service)


def _destination(entry: Document, namespace: str) -> Entry:
    destination = mapping(entry, "destination")
    service, of, is_service = _resolved(destination.get("host") or "", namespace)
    return Entry(service, of, destination.get("subset") or "", entry.get("weight") or 0, is_service)


def _resolved(host: str, namespace: str) -> tuple[str, str, bool]:
    """Return a host's Service and namespace: `shop`, `shop.market`, `shop.market.svc`, `shop.market.svc.<domain>`.

    A short name means the Service of the document's own namespace. Any other host is one outside the cluster.
    """
    service, *rest = host.split(".")
    if not rest:
        return service, namespace, True
    return (service, rest[0], True) if rest[1:2] in ([], ["svc"]) else (host, "", False)


def _route(document: Document, rule: Rule, wanted: Destinations) -> Route:
    stable, canary = rule.indices(wanted.stable, wanted.host)[0], rule.indices(wanted.canary, wanted.host)[0]
    if any(entry.weight for number, entry in enumerate(rule.entries) if number not in (stable, canary)):
        raise PlanError(f"{title(document)}: {rule.entries_at} sends traffic to a third destination too")
    written = (rule.entries[stable].weight, rule.entries[canary].weight)
    return Route(rule.place, f"{rule.entries_at}/{stable}", f"{rule.entries_at}/{canary}", written, rule.name)


def _why_none(document: Document, wanted: Destinations) -> str:
    """Return what keeps every route from splitting between the two destinations, in words."""
    http = list(rules(document))
    if document.get("kind") == "HTTPRoute":
        return f"no route between the Services {wanted.stable} and {wanted.canary}; {_BOTH}"
    what = f"no route between {wanted.stable} and {wanted.canary} of {wanted.host}"
    if not http:
        others = [kind for kind in ("tcp", "tls") if entries(document, "spec", kind)]
        has = f"it has {' and '.join(others)} routes alone" if others else "it has no routes"
        return f"{what}: {has}, allowed: http routes, for only HTTP requests can be judged"
    return f"{what}: {_nearest(http, wanted)}"


_BOTH = "it has to list both destinations, also the one without traffic"


def _nearest(http: Sequence[Rule], wanted: Destinations) -> str:
    subsets = f"two subsets of {wanted.host} in each route, {wanted.stable} and {wanted.canary}"
    ours = [(rule, entry) for rule in http for entry in rule.entries if is_host(entry, wanted.host, rule.namespace)]
    if bare := [rule for rule, entry in ours if not entry.subset]:
        return f"{bare[0]} names no subset of {wanted.host}, allowed: {subsets}, which a DestinationRule makes"
    if ours:
        return _BOTH
    for rule in http:
        if elsewhere := [e.namespace for e in rule.entries if e.is_service and e.service == wanted.host.split(".")[0]]:
            return (
                f"{rule} leads to {wanted.host} in namespace {elsewhere[0]}, allowed: the route's own, {rule.namespace}"
            )
        if len(services := [entry.service for entry in rule.entries if not entry.subset]) > 1:
            return (
                f"{rule} splits between the Services {' and '.join(services)}, allowed: {subsets}, "
                "or an HTTPRoute between two Services (--kind HTTPRoute)"
            )
    return f"no route leads to {wanted.host}, allowed: {subsets}"
