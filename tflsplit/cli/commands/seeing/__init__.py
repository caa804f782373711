"""Commands that show what a package answers."""
