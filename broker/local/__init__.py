"""A broker started on this machine for a first try."""
