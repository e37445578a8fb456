"""Prefect flows and the command line: the outermost room, which wires the others together."""
