"""What a package answers, seen at once: answers to inputs, and how many of them are right."""
