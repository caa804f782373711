"""What a package is and answers, seen at once: its page, answers to inputs, and how many of them are right."""
