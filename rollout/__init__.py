"""What a rollout is: plans, tracks, findings, decisions and their record. Pure."""
