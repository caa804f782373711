"""`python -m tflsplit`, and what is installed as `tflsplit`: the command line."""

from tflsplit.cli import interrupts


def main() -> None:
    interrupts.end_at_once()
    from tflsplit.cli import main as command

    command.main()


if __name__ == "__main__":
    main()
