"""Whose frame is next, how many of each device wait, and in which order those of a stream run."""
