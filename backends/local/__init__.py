"""The embedded default: a real Envoy, real sample processes and a real Prometheus on the loopback."""
