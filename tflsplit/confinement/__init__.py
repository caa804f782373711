"""Processes without rights, for what strangers made: they read, and write to one folder."""
