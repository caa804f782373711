"""The subcommands of `tflsplit broker`."""
