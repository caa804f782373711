"""Our commands as a person calls them."""

from click.testing import CliRunner

from tflsplit import errors
from tflsplit.cli import main


def run(*arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout, and our one line where a command refuses."""
    result = CliRunner().invoke(main.cli, [str(argument) for argument in arguments])
    if isinstance(result.exception, errors.TflsplitError):
        return 1, result.stdout, str(result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr
