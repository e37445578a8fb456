"""What is let in: the CRD's schema (422) first, then Istio's own webhook (400), then the size of a ConfigMap (422)."""

from __future__ import annotations

import base64
from typing import Any

from tests.emulated.refusals import RefusedError, invalid

_MOST_BYTES = 1_048_576
_INT32 = 2**31


def admit(plural: str, document: dict[str, Any]) -> None:
    """Refuse what the real server refuses."""
    if plural == "virtualservices":
        routes = [rule["route"] for rule in document["spec"].get("http") or [] if "route" in rule]
        for route in routes:
            _fit_schema(document, route)
        for route in routes:
            _fit_webhook(route)
    if plural == "configmaps":
        _fit_size(document)


def _fit_schema(document: dict[str, Any], route: list[dict[str, Any]]) -> None:
    name = document["metadata"]["name"]
    for entry in route:
        weight = entry.get("weight", 0)
        if isinstance(weight, bool) or not isinstance(weight, int) or not -_INT32 <= weight < _INT32:
            raise invalid(f'VirtualService "{name}" is invalid: spec.http.route.weight: Invalid value: "{weight}"')
        if not (entry.get("destination") or {}).get("host"):
            raise invalid(f'VirtualService "{name}" is invalid: spec.http.route.destination.host: Required value')


def _fit_webhook(route: list[dict[str, Any]]) -> None:
    weights = [entry.get("weight", 0) for entry in route]
    negative = next((weight for weight in weights if weight < 0), None)
    if negative is not None:
        raise _denied(f"weight {negative} < 0")
    if len(route) > 1 and sum(weights) == 0:
        raise _denied("total destination weight = 0")


def _denied(why: str) -> RefusedError:
    hook = 'admission webhook "validation.istio.io" denied the request: configuration is invalid'
    return RefusedError(400, None, f"{hook}: {why}")


def _fit_size(document: dict[str, Any]) -> None:
    size = sum(len(text.encode()) for text in (document.get("data") or {}).values())
    size += sum(len(base64.b64decode(text)) for text in (document.get("binaryData") or {}).values())
    if size > _MOST_BYTES:
        name = document["metadata"]["name"]
        raise invalid(f'ConfigMap "{name}" is invalid: []: Too long: may not be more than {_MOST_BYTES} bytes')
