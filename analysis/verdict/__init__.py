"""From the evidence to findings, and from findings to a verdict."""
