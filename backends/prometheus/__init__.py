"""Prometheus and what answers like it: `access` in to it, its `api`, and the `reader` of a rollout's samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backends.prometheus.reader import PrometheusMetrics

__all__ = ["PrometheusMetrics"]


def __getattr__(name: str) -> Any:
    """Return what the reader offers; settings name an address without loading it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from backends.prometheus import reader

    return getattr(reader, name)
