"""Prometheus and what answers like it."""

from analysis.samples import UNKNOWN
from backends.prometheus.reader import PrometheusMetrics

__all__ = ["UNKNOWN", "PrometheusMetrics"]
