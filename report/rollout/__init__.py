"""A rollout's record as a page, as Markdown and as a picture."""
