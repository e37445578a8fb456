"""The flows of `flows.operations` under the module name of version 0.1.

Deployments that stand in somebody's Prefect database name it as their entrypoint. It goes with version 0.3; until then
`prefect deploy --all` writes the new name.
"""

from flows.operations import emergency_rollback, look_after, steer

__all__ = ["emergency_rollback", "look_after", "steer"]
