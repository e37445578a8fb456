"""Carries a rollout out, over ports. Knows no vendor and no scheduler."""
