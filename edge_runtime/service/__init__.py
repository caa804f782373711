"""The edge as a systemd service."""
