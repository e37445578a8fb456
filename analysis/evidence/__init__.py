"""E-processes: what the counts say for and against the canary, scrape by scrape."""
