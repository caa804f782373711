"""Options from a configuration file and the environment, and their checks."""
