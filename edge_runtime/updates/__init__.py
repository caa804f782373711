"""Another model for an edge while it runs."""
