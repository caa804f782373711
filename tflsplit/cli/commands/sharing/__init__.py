"""The commands of one model shared over several machines."""
