"""What is done to a rollout from outside its process, and what is read of it."""
