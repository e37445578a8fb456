"""The rooms that touch the world: what the ports of a rollout stand on."""
