"""The edge: head, delivery, profiling, service, updates."""
