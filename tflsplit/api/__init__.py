"""The everyday calls of `import tflsplit`, which the command line makes too: words and paths in, one object out."""
