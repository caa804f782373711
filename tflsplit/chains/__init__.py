"""How to share a model over several machines in a row."""
