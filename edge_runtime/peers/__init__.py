"""One machine of several that share a model: it runs its pieces, and exchanges parts of tensors with the others."""
