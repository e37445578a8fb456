"""Addresses of the pages that show a rollout elsewhere: Grafana's dashboard and Kiali's graph."""

from __future__ import annotations

from datetime import datetime, timedelta
from urllib.parse import quote, urlencode

from rollout.record import RolloutRecord

DASHBOARD = "canary-rollout"
"""`uid` of the dashboard in manifests/monitoring."""
_AROUND = timedelta(minutes=5)
"""Shown before and after a rollout."""


def grafana_link(base: str, service: str, since: datetime | None = None, until: datetime | None = None) -> str:
    """Return where Grafana shows a service's rollouts.

    Parameters
    ----------
    base
        Where Grafana answers; empty gives an empty link.
    service
        The service, as the plan names it.
    since, until
        The time to show; without them, what the dashboard shows by itself.
    """
    if not base:
        return ""
    query = {"var-service": service}
    if since:
        query |= {"from": _milliseconds(since - _AROUND), "to": _milliseconds(until + _AROUND) if until else "now"}
    return f"{base.rstrip('/')}/d/{DASHBOARD}?{urlencode(query)}"


def kiali_link(base: str, service: str, namespace: str, *, lasting: timedelta = timedelta(minutes=10)) -> str:
    """Return where Kiali draws the graph around a service's versions, over the last minutes.

    Parameters
    ----------
    base
        Where Kiali answers; empty gives an empty link.
    service
        The label `app` of its pods.
    namespace
        Where it lives; empty, as on the embedded backend, gives an empty link.
    lasting
        How far back.
    """
    if not base or not namespace:
        return ""
    query = {"graphType": "versionedApp", "duration": f"{round(lasting.total_seconds())}s", "refresh": "15000"}
    node = f"console/graph/node/namespaces/{quote(namespace)}/applications/{quote(service)}"
    return f"{base.rstrip('/')}/{node}?{urlencode(query)}"


def links_of(record: RolloutRecord, *, grafana: str = "", kiali: str = "", namespace: str = "") -> dict[str, str]:
    """Return a rollout's links by the name of what they lead to; none where no address is known."""
    if record.started is None:
        return {}
    service, ended = record.started.plan.service, record.ended
    links = {
        "Grafana": grafana_link(grafana, service, record.started.at, ended.at if ended else None),
        "Kiali": kiali_link(kiali, service, namespace),
    }
    return {name: link for name, link in links.items() if link}


def _milliseconds(moment: datetime) -> str:
    return str(round(moment.timestamp() * 1000))
