"""One inference over several machines: which part of each tensor each of them makes, and what they exchange."""
