"""What runs in a deployment, as its own messages tell: for `tflsplit watch` and `tflsplit fleet`."""
