"""A real cluster: Kubernetes and Istio (or the Gateway API), through the same ports as the embedded backend."""
