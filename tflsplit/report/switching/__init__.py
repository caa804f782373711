"""A cut that moved, as an HTML page."""
