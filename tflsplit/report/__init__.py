"""Plans as HTML pages with charts."""
