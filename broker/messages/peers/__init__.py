"""What machines that share a model tell each other: parts of tensors, epochs, and how each of them stands."""
