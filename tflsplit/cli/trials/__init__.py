"""Whole deployments on one machine: the demo and the replay."""
