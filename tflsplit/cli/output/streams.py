"""Standard output as it really is: a pipe that closes, a disk that is full, an encoding without our characters."""

import codecs
import errno
import io
import os
import sys
import traceback
from pathlib import Path

import click

# For an encoding that lacks these. Each is as wide as what it stands for, so that tables stay in line.
_PLAIN = {"→": ">", "…": "~", "─": "-", "\u00d7": "x", "\u2013": "-", "µ": "u"}

# The files whose functions write to stdout.
_WRITERS = (
    click.utils.__file__,
    str(Path(__file__).with_name("screen.py")),
    str(Path(__file__).parents[1] / "main.py"),
)


def set_up() -> None:
    codecs.register_error("tflsplit.plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="tflsplit.plain")


def is_broken(cause: OSError) -> bool:
    """Whether `cause` came of writing to stdout, by the function that did so."""
    place = traceback.extract_tb(cause.__traceback__)[-1].filename
    return cause.errno == errno.EPIPE or place in _WRITERS


def discard_stdout() -> None:
    """What is left to be written goes nowhere, so that the end of the process says nothing of it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def _plain(problem: UnicodeError) -> tuple[str, int]:
    assert isinstance(problem, UnicodeEncodeError)  # noqa: S101 - these streams are written only
    lacking = problem.object[problem.start : problem.end]
    return "".join(
        _PLAIN.get(each, each.encode("unicode_escape", "surrogatepass").decode()) for each in lacking
    ), problem.end
