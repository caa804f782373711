"""Programs that read results or push updates."""
