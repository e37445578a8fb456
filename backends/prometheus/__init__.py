"""Prometheus and what answers like it."""

from backends.prometheus.reader import UNKNOWN, PrometheusMetrics

__all__ = ["UNKNOWN", "PrometheusMetrics"]
