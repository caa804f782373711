"""`python -m tflsplit`, and what is installed as `tflsplit`: the command line."""

import gc

from tflsplit.cli import interrupts


def main() -> None:
    interrupts.end_at_once()
    gc.disable()  # until a command is imported: nothing of that is garbage, and looking for it is a tenth of a start
    from tflsplit.cli import main as command

    command.main()


if __name__ == "__main__":
    main()
