"""A package on disk: its manifest, reading, writing, proof and signature."""
