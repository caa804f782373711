"""Links measured, and links made to measure on."""
