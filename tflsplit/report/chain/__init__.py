"""The page of a plan for several machines in a row."""
