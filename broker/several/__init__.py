"""One transport over the several brokers of a deployment, for those who must be at all: clouds, readers, operators."""
