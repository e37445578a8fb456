"""Synthetic load beside the real traffic, and its clients' counts in the mesh's place."""
