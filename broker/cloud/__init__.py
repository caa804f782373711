"""The cloud: takes frames in, runs tails, publishes results."""
