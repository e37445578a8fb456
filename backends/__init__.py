"""The adapters of a rollout's ports: a cluster, the embedded service, Prometheus, notices and hooks."""
