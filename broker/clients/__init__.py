"""Programs that read results."""
