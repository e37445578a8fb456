"""The Kubernetes API server: a few verbs on plain documents, its errors as ours."""
