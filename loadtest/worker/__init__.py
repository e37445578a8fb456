"""All that runs inside Locust's own processes."""
