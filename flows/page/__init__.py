"""A rollout's page in Prefect: what is shown there, and what is done there."""
