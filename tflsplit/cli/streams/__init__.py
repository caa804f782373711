"""Several edges in one process: the `[[stream]]` tables of a configuration file."""
