"""What the Edge TPU takes: rules, rewrites, Google's compiler and its log."""
