"""What detectors, segmenters and pose models found, out of their plain outputs."""
