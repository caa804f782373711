"""Inputs to calibrate on, real or synthetic."""
