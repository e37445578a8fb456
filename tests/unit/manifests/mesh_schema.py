"""What the shipped routes may say: the parts that they use of the CRDs of Istio (networking.istio.io/v1) and of the
Gateway API (v1), every other field refused. The API servers' own schemas allow more.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string", "minLength": 1}
DURATION: Schema = {"type": "string", "pattern": r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"}
PORT: Schema = {"type": "integer", "minimum": 1, "maximum": 65535}
WEIGHT: Schema = {"type": "integer", "minimum": 0, "maximum": 100}
NAME: Schema = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"}


def record(required: str = "", /, **fields: Schema) -> Schema:
    """Return the schema of an object with these fields and no others."""
    return {"type": "object", "properties": fields, "required": required.split(), "additionalProperties": False}


def each(items: Schema, least: int = 1) -> Schema:
    """Return the schema of a list of these."""
    return {"type": "array", "items": items, "minItems": least}


def mapping(values: Schema) -> Schema:
    """Return the schema of an object whose keys are free."""
    return {"type": "object", "additionalProperties": values, "minProperties": 1}


def kind(api: str, name: str, spec: Schema) -> Schema:
    """Return the schema of a whole document."""
    metadata = record("name namespace", name=NAME, namespace=NAME)
    constants: dict[str, Schema] = {"apiVersion": {"const": api}, "kind": {"const": name}}
    return record("apiVersion kind metadata spec", **constants, metadata=metadata, spec=spec)


_MATCH = record(
    uri={**mapping(TEXT), "propertyNames": {"enum": ["exact", "prefix", "regex"]}},
    headers=mapping({**mapping(TEXT), "propertyNames": {"enum": ["exact", "prefix", "regex"]}}),
)
_ROUTE = record(
    "destination",
    destination=record("host subset", host=TEXT, subset=NAME),
    weight=WEIGHT,
    headers=record(response=record(set=mapping(TEXT))),
)
_HTTP: Schema = record(
    "name",
    name=NAME,
    match=each(_MATCH),
    route=each(_ROUTE),
    directResponse=record("status", status={"type": "integer", "minimum": 200, "maximum": 599}),
    timeout=DURATION,
    retries=record("attempts", attempts={"type": "integer", "minimum": 0}, retryOn=TEXT),
) | {"oneOf": [{"required": ["route"]}, {"required": ["directResponse"]}]}

_HEADER = record("name value", name=TEXT, value=TEXT)
_REDIRECT = record(
    "path statusCode",
    path=record("type replaceFullPath", type={"const": "ReplaceFullPath"}, replaceFullPath=TEXT),
    statusCode={"enum": [301, 302]},
)
_FILTER = record(
    "type",
    type={"enum": ["RequestRedirect", "ResponseHeaderModifier"]},
    requestRedirect=_REDIRECT,
    responseHeaderModifier=record("set", set=each(_HEADER)),
)
_BACKEND = record("name port", name=NAME, port=PORT, weight=WEIGHT, filters=each(_FILTER))
_RULE = record(
    matches=each(record(path=record("type value", type={"const": "PathPrefix"}, value=TEXT), headers=each(_HEADER))),
    filters=each(_FILTER),
    backendRefs=each(_BACKEND),
    timeouts=record("request", request=DURATION),
)

_ISTIO, _GATEWAY_API = "networking.istio.io/v1", "gateway.networking.k8s.io/v1"
SCHEMAS: dict[tuple[str, str], Schema] = {
    (document["properties"]["apiVersion"]["const"], document["properties"]["kind"]["const"]): document
    for document in (
        kind(_ISTIO, "VirtualService", record("hosts http", hosts=each(TEXT), gateways=each(NAME), http=each(_HTTP))),
        kind(
            _ISTIO,
            "DestinationRule",
            record("host subsets", host=TEXT, subsets=each(record("name labels", name=NAME, labels=mapping(TEXT)))),
        ),
        kind(
            _ISTIO,
            "Gateway",
            record(
                "selector servers",
                selector=mapping(TEXT),
                servers=each(
                    record(
                        "port hosts",
                        port=record("number name protocol", number=PORT, name=NAME, protocol={"enum": ["HTTP"]}),
                        hosts=each(TEXT),
                    )
                ),
            ),
        ),
        kind(
            _GATEWAY_API,
            "Gateway",
            record(
                "gatewayClassName listeners",
                gatewayClassName=NAME,
                listeners=each(
                    record(
                        "name port protocol",
                        name=NAME,
                        port=PORT,
                        protocol={"enum": ["HTTP"]},
                        allowedRoutes=record(namespaces=record("from", **{"from": {"enum": ["Same"]}})),
                    )
                ),
            ),
        ),
        kind(
            _GATEWAY_API,
            "HTTPRoute",
            record("parentRefs rules", parentRefs=each(record("name", name=NAME)), rules=each(_RULE)),
        ),
    )
}
