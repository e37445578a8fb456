"""Prefect flows: each is a thin form over what `wiring` puts together."""
