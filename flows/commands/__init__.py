"""The commands of `canary`, a module each, and what they share."""
