"""How features travel: whether coding pays for a model, and what fewer bits lose."""
