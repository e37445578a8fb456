"""Checks of each look that are not the judge's: drift, split, what pods rest on."""
