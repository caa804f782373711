"""Times every cut on this machine, and compares an accelerator with the CPU."""
