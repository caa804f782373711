"""What the telemetry of a fleet tells: of all devices together, and of each."""
