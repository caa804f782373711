"""How many answers are right, and what would have been more right. Pure."""
