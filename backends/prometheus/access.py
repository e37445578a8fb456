"""How one gets in: credentials, headers, TLS and proxy, in the words of Prometheus' own `http_config`."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel, ConfigDict


class Access(BaseModel):
    """How one gets in to a Prometheus-compatible server; by itself: without credentials."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    follow_redirects: bool = True
    timeout: timedelta | None = None
