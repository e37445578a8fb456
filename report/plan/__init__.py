"""What a plan can see, as a page."""
