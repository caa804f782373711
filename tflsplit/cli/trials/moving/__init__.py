"""Policies that move the cut as they run in real processes, over a link that is as a trace says."""
