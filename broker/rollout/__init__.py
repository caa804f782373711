"""Pushes a model to devices: to one, or to thousands in waves, with a state on disk."""
