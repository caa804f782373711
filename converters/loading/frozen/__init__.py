"""The frozen graph of a model: what in it cannot be converted, and forms written anew so that it can."""
