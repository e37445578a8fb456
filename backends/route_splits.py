"""Where a VirtualService or an HTTPRoute splits the traffic between our two destinations. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from backends.document_fields import Document, entries, mapping
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
class SplitRoute:
    """One route that splits the traffic, and what it says."""

    rule: str
    """JSON pointer of the route, such as `/spec/http/1`."""
    stable: str
    """JSON pointer of stable's entry, such as `/spec/http/1/route/0`."""
    canary: str
    """JSON pointer of the canary's entry."""
    weights: tuple[int, int]
    """The two weights as they are written."""
    name: str = ""

    @property
    def canary_percent(self) -> float:
        """The canary's share that the written weights amount to, in percent."""
        stable, canary = self.weights
        if stable + canary <= 0:
            raise PlanError(f"{self.canary}: weights {stable}/{canary}, allowed: a sum above 0")
        return 100 * canary / (stable + canary)


@dataclass(frozen=True, slots=True)
class Split:
    """All routes of a document that split the traffic, which say the same unless somebody else has written."""

    routes: tuple[SplitRoute, ...]

    @property
    def weights(self) -> Weights:
        """The shares that the written weights amount to; a track with any traffic never counts as one without."""
        shares = [route.canary_percent for route in self.routes]
        least, most = (1 if any(shares) else 0), (99 if any(share < 100 for share in shares) else 100)
        return Weights.with_canary(min(max(round(fmean(shares)), least), most))

    def matches(self, weights: Weights) -> bool:
        """Return whether just these weights are written, in every route."""
        return all(route.weights == (weights.stable, weights.canary) for route in self.routes)


def find_split(document: Document, tracks: Destinations) -> Split:
    """Return the routes that split between the two destinations.

    Parameters
    ----------
    document
        A VirtualService or an HTTPRoute.
    tracks
        The destinations; routes to one of them alone, such as testers', are passed over.

    Raises
    ------
    PlanError
        When there is none, when one that was named does not, or when a third destination gets traffic.
    """
    split = [rule for rule in http_routes(document) if rule.has_both(tracks)]
    if not split:
        raise PlanError(f"{title(document)}: {_describe_no_split(document, tracks)}")
    selected = [rule for rule in split if not tracks.routes or any(rule.is_called(name) for name in tracks.routes)]
    for name in tracks.routes:
        if not any(rule.is_called(name) for rule in selected):
            raise PlanError(
                f"{title(document)}: route {name!r} does not lead to both {tracks.stable} and {tracks.canary}, "
                f"allowed: {', '.join(map(str, split))}"
            )
    return Split(tuple(_route(document, rule, tracks) for rule in selected))


def unselected_routes(document: Document, tracks: Destinations) -> tuple[str, ...]:
    """Return the routes between both destinations that were left out where some were named."""
    selected = {route.rule for route in find_split(document, tracks).routes}
    return tuple(str(rule) for rule in http_routes(document) if rule.has_both(tracks) and rule.pointer not in selected)


def title(document: Document) -> str:
    """Return what to call a document in an error."""
    metadata = mapping(document, "metadata")
    return f"{document.get('kind', 'object')} {metadata.get('namespace') or ''}/{metadata.get('name')}"


@dataclass(frozen=True, slots=True)
class RouteDestination:
    """One destination of a route."""

    service: str
    """Its Service, without the namespace."""
    namespace: str
    subset: str
    weight: int
    is_service: bool = True
    """False for what only looks like a Service of the cluster: a host outside, another kind of backend."""


@dataclass(frozen=True, slots=True)
class HttpRoute:
    """One HTTP route, with its destinations."""

    name: str
    index: int
    pointer: str
    """JSON pointer, such as `/spec/http/1`."""
    destinations_pointer: str
    """JSON pointer of its destinations."""
    entries: tuple[RouteDestination, ...]
    has_subsets: bool
    namespace: str
    """The document's own."""

    def __str__(self) -> str:
        return f"{self.name or self.index} at {self.pointer}"

    def is_called(self, name: str) -> bool:
        """Return whether a person means this route: by its name, or by its index where it has none."""
        return self.name == name if self.name else str(self.index) == name

    def has_both(self, tracks: Destinations) -> bool:
        """Return whether it has each of the two destinations, once."""
        return all(len(self.indices(name, tracks.host)) == 1 for name in (tracks.stable, tracks.canary))

    def indices(self, name: str, host: str) -> list[int]:
        """Return which entries a destination has."""
        return [number for number, entry in enumerate(self.entries) if self._matches(entry, name, host)]

    def _matches(self, entry: RouteDestination, name: str, host: str) -> bool:
        if not self.has_subsets:
            return entry.is_service and (entry.service, entry.namespace) == (name, self.namespace)
        return entry.subset == name and is_host(entry, host, self.namespace)


def is_host(entry: RouteDestination, host: str, namespace: str) -> bool:
    """Return whether an entry leads to a Service, however either of them is written."""
    service, service_namespace, is_service = _resolve_host(host, namespace)
    return (entry.service, entry.namespace, entry.is_service) == (service, service_namespace, is_service)


def http_routes(document: Document) -> Iterator[HttpRoute]:
    """Return the HTTP routes of a VirtualService or an HTTPRoute."""
    namespace = str(mapping(document, "metadata").get("namespace") or "")
    is_gateway_api = document.get("kind") == "HTTPRoute"
    members, inner = ("rules", "backendRefs") if is_gateway_api else ("http", "route")
    for number, rule in enumerate(entries(document, "spec", members)):
        pointer = f"/spec/{members}/{number}"
        read = _backend if is_gateway_api else _destination
        yield HttpRoute(
            name=rule.get("name") or "",
            index=number,
            pointer=pointer,
            destinations_pointer=f"{pointer}/{inner}",
            entries=tuple(read(entry, namespace) for entry in entries(rule, inner)),
            has_subsets=not is_gateway_api,
            namespace=namespace,
        )


def _backend(reference: Document, namespace: str) -> RouteDestination:
    weight = reference.get("weight")
    is_service = (reference.get("group") or "", reference.get("kind") or "Service") == ("", "Service")
    written = 1 if weight is None else weight
    return RouteDestination(
        reference.get("name") or "", reference.get("namespace") or namespace, "", written, is_service
    )


def _destination(entry: Document, namespace: str) -> RouteDestination:
    destination = mapping(entry, "destination")
    service, service_namespace, is_service = _resolve_host(destination.get("host") or "", namespace)
    return RouteDestination(
        service, service_namespace, destination.get("subset") or "", entry.get("weight") or 0, is_service
    )


def _resolve_host(host: str, namespace: str) -> tuple[str, str, bool]:
    """Return a host's Service and namespace: `shop`, `shop.market`, `shop.market.svc`, `shop.market.svc.<domain>`.

    A short name means the Service of the document's own namespace. Any other host is one outside the cluster.
    """
    service, *domain = host.split(".")
    if not domain:
        return service, namespace, True
    return (service, domain[0], True) if domain[1:2] in ([], ["svc"]) else (host, "", False)


def _route(document: Document, rule: HttpRoute, tracks: Destinations) -> SplitRoute:
    stable, canary = rule.indices(tracks.stable, tracks.host)[0], rule.indices(tracks.canary, tracks.host)[0]
    if any(entry.weight for number, entry in enumerate(rule.entries) if number not in (stable, canary)):
        raise PlanError(f"{title(document)}: {rule.destinations_pointer} sends traffic to a third destination too")
    weights = (rule.entries[stable].weight, rule.entries[canary].weight)
    return SplitRoute(
        rule.pointer,
        f"{rule.destinations_pointer}/{stable}",
        f"{rule.destinations_pointer}/{canary}",
        weights,
        rule.name,
    )


def _describe_no_split(document: Document, tracks: Destinations) -> str:
    """Return what keeps every route from splitting between the two destinations."""
    http = list(http_routes(document))
    if document.get("kind") == "HTTPRoute":
        return f"no route between the Services {tracks.stable} and {tracks.canary}; {_BOTH}"
    what = f"no route between {tracks.stable} and {tracks.canary} of {tracks.host}"
    if not http:
        others = [kind for kind in ("tcp", "tls") if entries(document, "spec", kind)]
        has = f"it has {' and '.join(others)} routes alone" if others else "it has no routes"
        return f"{what}: {has}, allowed: http routes, for only HTTP requests can be judged"
    return f"{what}: {_describe_nearest(http, tracks)}"


_BOTH = "it has to list both destinations, also the one without traffic"


def _describe_nearest(http: Sequence[HttpRoute], tracks: Destinations) -> str:
    subsets = f"two subsets of {tracks.host} in each route, {tracks.stable} and {tracks.canary}"
    ours = [(rule, entry) for rule in http for entry in rule.entries if is_host(entry, tracks.host, rule.namespace)]
    if bare := [rule for rule, entry in ours if not entry.subset]:
        return f"{bare[0]} names no subset of {tracks.host}, allowed: {subsets}, which a DestinationRule makes"
    if ours:
        return _BOTH
    for rule in http:
        if elsewhere := [e.namespace for e in rule.entries if e.is_service and e.service == tracks.host.split(".")[0]]:
            return (
                f"{rule} leads to {tracks.host} in namespace {elsewhere[0]}, allowed: the route's own, {rule.namespace}"
            )
        if len(services := [entry.service for entry in rule.entries if not entry.subset]) > 1:
            return (
                f"{rule} splits between the Services {' and '.join(services)}, allowed: {subsets}, "
                "or an HTTPRoute between two Services (--kind HTTPRoute)"
            )
    return f"no route leads to {tracks.host}, allowed: {subsets}"
