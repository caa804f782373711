"""Data classes that cost little where they are not used."""
