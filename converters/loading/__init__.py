"""Opens any supported model file, after searching it for code."""
