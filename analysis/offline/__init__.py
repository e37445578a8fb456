"""Recorded and simulated rollouts: backtests, power, and the older judges' rules. The only home of pandas."""
