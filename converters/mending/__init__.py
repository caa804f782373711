"""Changes to a quantised model without which it does not run, or not on every sample."""
