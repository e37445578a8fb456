"""Charts as geometry: axes, curves, the rollout's clock."""
