"""How many small changes of the modules that decide over a rollout its tests notice."""
