"""`python -m tflsplit`: the command line."""

from tflsplit.cli.main import main

if __name__ == "__main__":
    main()
