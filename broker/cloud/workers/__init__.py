"""Tails in other processes, or in the actors of a Ray cluster."""
