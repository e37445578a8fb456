"""A rollout's state, and the ports through which it is carried out."""
