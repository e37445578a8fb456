"""What has to hold in a cluster before a rollout touches anything."""
