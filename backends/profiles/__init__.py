"""Where a source has requests, statuses, durations and the track: one YAML file a source, and their schema."""
