"""Answers of the device itself: what it computes of a frame beside its head, which answer counts, and what stays."""
