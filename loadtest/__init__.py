"""Synthetic traffic: Locust in a child process, at a constant arrival rate, counted by the track that answered."""
