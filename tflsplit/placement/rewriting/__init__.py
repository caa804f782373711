"""From a part of a result to the small model that makes it: how each operator can be shared."""
