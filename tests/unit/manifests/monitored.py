"""The shipped dashboard and rules, taken apart."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from tests.unit.manifests.kustomized import MANIFESTS

MONITORING = MANIFESTS / "monitoring"
RULES = MONITORING / "rules.yaml"
_SELECTOR = re.compile(r"\b(?:canary|istio)_\w+(?:\{[^}]*\})?")


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana reads it."""
    found: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text())
    return found


def dashboard_queries() -> list[tuple[str, str]]:
    """Return every query with the title it stands under, its variables filled in as Grafana does."""
    board = dashboard()
    panels = [(panel["title"], target["expr"]) for panel in board["panels"] for target in panel["targets"]]
    marks = [(mark["name"], mark["expr"]) for mark in board["annotations"]["list"]]
    return [(title, filled(query)) for title, query in panels + marks]


def filled(query: str) -> str:
    """Return a query as Grafana sends it for the demo's service."""
    return query.replace("$service", "canary-app").replace("$__rate_interval", "10s")


def rules() -> list[dict[str, Any]]:
    """Return all rules, in order."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def recorded() -> dict[str, str]:
    """Return what is recorded, by name."""
    return {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}


def spelt_out(expression: str) -> str:
    """Return an expression with the recorded series in it replaced by what they are recorded from."""
    for name, meaning in recorded().items():
        expression = re.sub(rf"{re.escape(name)}(?:\{{[^}}]*\}})?", lambda _, to=meaning: f"({to})", expression)
    return expression


def selectors() -> set[str]:
    """Return every series that a rule reads."""
    return {found for rule in rules() for found in _SELECTOR.findall(spelt_out(rule["expr"]))}
