"""`tflsplit rollout` and its subcommands."""
