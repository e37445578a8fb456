"""A load test as a page, as Markdown and as JUnit."""
