"""The composition root: settings, targets, preflight, and live ports out of names."""
