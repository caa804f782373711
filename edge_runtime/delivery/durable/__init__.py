"""Delivery `all` through a spool on disk: an edge without one loads nothing of this, and no SQLite."""
