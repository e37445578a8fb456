"""The record as a page: what happened and why, for people. Pure."""
