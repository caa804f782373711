"""What runs a head: the CPU, a Coral Edge TPU, any TensorFlow Lite delegate."""
