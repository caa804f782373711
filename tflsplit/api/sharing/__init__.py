"""Calls for models that several machines compute together: running them."""
