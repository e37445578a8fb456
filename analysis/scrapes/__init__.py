"""Raw counter samples in, what was counted from scrape to scrape out."""
