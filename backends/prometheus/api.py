"""Queries to a Prometheus-compatible server: Prometheus, Thanos, Mimir, VictoriaMetrics, a managed one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import cached_property
from http.client import HTTPException
from typing import Any, Final

import requests
from prometheus_api_client import PrometheusConnect
from urllib3.exceptions import HTTPError

from backends.prometheus.address import Address
from backends.prometheus.connection_errors import describe_failure
from backends.prometheus.credentials import Credentials, Tls
from backends.prometheus.deadline import time_limit
from backends.prometheus.http_config import Access
from backends.prometheus.query_results import QueryResult as QueryResult
from backends.prometheus.query_results import SampledSeries as SampledSeries
from backends.prometheus.query_results import decode, matrix, vector
from backends.prometheus.transport import LimitedAdapter, LimitedSession
from rollout.errors import PlanError, UnavailableError

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
        How one gets in, or what gives that at the first query.
    most_bytes
        Limit of one answer, unpacked.

    Every method raises UnavailableError, in one sentence without a secret, when there is no answer in time, or one
    that is none; also when address or access are wrong, so that what needs no Prometheus does not fail by them.
    """

    def __init__(
        self,
        url: str | Address,
        access: Access | Callable[[], Access] | None = None,
        *,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self.address = url if isinstance(url, Address) else Address(url)
        self._given, self._most_bytes = access or Access(), most_bytes

    @property
    def url(self) -> str:
        """Where the server answers, as it can be shown."""
        return self.address.url

    def samples(self, selector: str, since: datetime, until: datetime, *, timeout: timedelta) -> QueryResult:
        """Return the samples of a selector's series scraped after `since`, up to `until`."""
        window = max(round((until - since) / timedelta(milliseconds=1)), 1)
        return self._query(f"{selector}[{window}ms]", until, timeout, matrix)

    def instant(self, query: str, at: datetime, *, timeout: timedelta) -> QueryResult:
        """Return what an expression has at a moment: one sample a series."""
        return self._query(query, at, timeout, vector)

    def _query(
        self, query: str, at: datetime, timeout: timedelta, read: Callable[[Mapping[str, Any]], QueryResult]
    ) -> QueryResult:
        limit = timeout
        try:
            limit = min(timeout, self._access.timeout or timeout)
            with time_limit(limit):
                return read(decode(self._send(query, at, limit), self._credentials.hide))
        except UnavailableError as error:
            raise type(error)(f"query {self.url}: {error}") from None
        except PlanError as error:
            raise UnavailableError(f"query {self.url}: {'; '.join(str(error).splitlines())}") from None
        except _FAILURES as error:
            # Without its cause: requests' errors repeat addresses and headers, with what is secret in them.
            raise UnavailableError(f"query {self.url}: {describe_failure(error, limit)}") from None

    def _send(self, query: str, at: datetime, limit: timedelta) -> bytes:
        body: bytes = self._client.custom_query(query, {"time": f"{at.timestamp():.3f}"}, limit.total_seconds())
        return body

    @cached_property
    def _access(self) -> Access:
        return self._given if isinstance(self._given, Access) else self._given()

    @cached_property
    def _credentials(self) -> Credentials:
        return Credentials(self._access, self.address)

    @cached_property
    def _client(self) -> PrometheusConnect:
        self.address.check("Prometheus' address")
        session = LimitedSession(
            LimitedAdapter(Tls(self._access.tls_config).options),
            most_bytes=self._most_bytes,
            follow_redirects=self._access.follow_redirects,
            hide=self._credentials.hide,
        )
        session.params, session.auth = self.address.query, self._credentials
        # A proxy set for the outside world has nothing to do with the loopback.
        session.trust_env = self.address.host not in _LOOPBACK and self._access.proxy_url is None
        if proxy := self._access.proxy_url:
            session.proxies = dict.fromkeys(("http", "https"), proxy.with_user)
        return PrometheusConnect(self.url, session=session)
