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


# ASCII under a name of its own: where click sees that of Python it writes UTF-8 instead.
_ASCII = "tflsplit_ascii"


def set_up() -> None:
    codecs.register_error("tflsplit.plain", _plain)
    codecs.register(_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            is_ascii = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(encoding=_ASCII if is_ascii else stream.encoding, errors="tflsplit.plain")


def is_broken(cause: OSError) -> bool:
    """Whether `cause` came of writing to stdout, by the function that did so."""
    place = traceback.extract_tb(cause.__traceback__)[-1].filename
    return cause.errno == errno.EPIPE or place in _WRITERS


def discard_stdout() -> None:
    """What is left to be written goes nowhere, so that the end of the process says nothing of it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def _ascii(name: str) -> codecs.CodecInfo | None:
    if name != _ASCII:
        return None
    plain = codecs.lookup("ascii")
    return codecs.CodecInfo(*plain[:2], plain.streamreader, plain.streamwriter, plain.incrementalencoder, name=_ASCII)


def _plain(problem: UnicodeError) -> tuple[str, int]:
    assert isinstance(problem, UnicodeEncodeError)  # noqa: S101 - these streams are written only
    lacking = problem.object[problem.start : problem.end]
    return "".join(
        _PLAIN.get(each, each.encode("unicode_escape", "surrogatepass").decode()) for each in lacking
    ), problem.end
