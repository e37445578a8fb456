"""Queries to a Prometheus-compatible server: Prometheus, Thanos, Mimir, VictoriaMetrics, a managed one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from http.client import HTTPException
from typing import Any, Final

import requests
from prometheus_api_client import PrometheusConnect
from urllib3.exceptions import HTTPError

from backends.prometheus.access import Access
from backends.prometheus.address import Address
from backends.prometheus.answers import Answer as Answer
from backends.prometheus.answers import SampledSeries as SampledSeries
from backends.prometheus.answers import decoded, matrix, vector
from backends.prometheus.deadline import ending_in
from backends.prometheus.failures import describe_failure
from backends.prometheus.transport import LimitedAdapter, LimitedSession
from rollout.errors import UnavailableError

MOST_BYTES: Final = 64 * 1024**2
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_FAILURES: Final = (requests.RequestException, HTTPError, HTTPException, OSError, ValueError)
"""What `requests` and the libraries below it raise for what a server does."""


class PrometheusApi:
    """Queries to one server. Each ends at its limit in time and in bytes, and nothing is retried.

    Parameters
    ----------
    url
        Where it answers; user, password and query in it are sent and never shown.
    access
        How one gets in.
    most_bytes
        Limit of one answer, unpacked.

    Every method raises UnavailableError, in one sentence without a secret, when there is no answer in time, or one
    that is none.
    """

    def __init__(self, url: str | Address, access: Access | None = None, *, most_bytes: int = MOST_BYTES) -> None:
        self.address = url if isinstance(url, Address) else Address.parse(url)
        self._access = access or Access()
        self._session = LimitedSession(
            LimitedAdapter(), most_bytes=most_bytes, follow_redirects=self._access.follow_redirects
        )
        self._session.params = dict(self.address.query)
        # A proxy set for the outside world has nothing to do with the loopback.
        self._session.trust_env = self.address.host not in _LOOPBACK
        self._client = PrometheusConnect(self.address.url, session=self._session)

    @property
    def url(self) -> str:
        """Where the server answers, as it can be shown."""
        return self.address.url

    def samples(self, selector: str, since: datetime, until: datetime, *, timeout: timedelta) -> Answer:
        """Return the samples of a selector's series scraped after `since`, up to `until`."""
        window = max(round((until - since) / timedelta(milliseconds=1)), 1)
        return self._query(f"{selector}[{window}ms]", until, timeout, matrix)

    def instant(self, query: str, at: datetime, *, timeout: timedelta) -> Answer:
        """Return what an expression has at a moment: one sample a series."""
        return self._query(query, at, timeout, vector)

    def _query(
        self, query: str, at: datetime, timeout: timedelta, read: Callable[[Mapping[str, Any]], Answer]
    ) -> Answer:
        limit = min(timeout, self._access.timeout or timeout)
        try:
            with ending_in(limit):
                return read(decoded(self._send(query, at, limit)))
        except UnavailableError as error:
            raise type(error)(f"query {self.url}: {error}") from None
        except _FAILURES as error:
            # Without its cause: requests' errors repeat addresses and headers, with what is secret in them.
            raise UnavailableError(f"query {self.url}: {describe_failure(error, limit)}") from None

    def _send(self, query: str, at: datetime, limit: timedelta) -> bytes:
        body: bytes = self._client.custom_query(query, {"time": f"{at.timestamp():.3f}"}, limit.total_seconds())
        return body
