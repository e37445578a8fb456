"""Prefect's server on this machine, and what is asked of it and told it."""
