"""Who is compared on simulated rollouts, and how what they did is counted, written and drawn."""
