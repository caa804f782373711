"""How a picture or a vector becomes a model's input."""
