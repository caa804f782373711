"""Lines on stderr that do not come from our log: of libraries in C and C++, of child processes, of Python itself.

For `--log-format json` descriptor 2 becomes a pipe to a process that wraps such lines in JSON and passes ours. A thread
would not do: the last words of a library that ends the process would be lost with it.
"""

import atexit
import json
import os
import re
import select
import signal
import sys
from collections.abc import Callable
from typing import BinaryIO

_PRIORITY = re.compile(rb"<\d>")
# How long the end of our process waits until its last lines are written.
_LAST_S = 2.0


class _Original:
    """The descriptor that stderr was before; 2 until it is redirected."""

    descriptor = 2


def original() -> int:
    """The descriptor of the stderr that we were started with."""
    return _Original.descriptor


def wrap(as_json: Callable[[str], str]) -> None:
    """From now on until the end of the process each line on stderr is JSON: `as_json` makes a line of another. To be
    called before there are threads. Nothing happens where Python's stderr is not descriptor 2, as within tests."""
    if _Original.descriptor != 2 or not _is_stderr():
        return
    sys.stderr.flush()
    kept = os.dup(2)
    reading, writing = os.pipe()
    told, telling = os.pipe()
    if (child := os.fork()) == 0:
        for descriptor in (writing, told):
            os.close(descriptor)
        _serve(reading, kept, telling, as_json)
    for descriptor in (reading, telling):
        os.close(descriptor)
    os.dup2(writing, 2)
    os.close(writing)
    _Original.descriptor = kept
    atexit.register(_end, child, told)


def _is_stderr() -> bool:
    try:
        return sys.stderr.fileno() == 2
    except (AttributeError, OSError, ValueError):
        return False


def _mark(child: int) -> bytes:
    return b"\0end of process of %d\n" % child


def _end(child: int, told: int) -> None:
    """Gives stderr back once all lines before are written. Children that live on keep their way through the pipe."""
    try:
        sys.stderr.flush()
        os.write(2, _mark(child))
        os.dup2(_Original.descriptor, 2)
        select.select([told], [], [], _LAST_S)
    except OSError:
        os.dup2(_Original.descriptor, 2)


def _serve(reading: int, kept: int, telling: int, as_json: Callable[[str], str]) -> None:
    """The process that reads. It ends with the last process that may write, so no signal to the group ends it."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nowhere, descriptor)  # whoever reads our stdout waits for its end
        mark = _mark(os.getpid())
        with os.fdopen(reading, "rb") as lines, os.fdopen(kept, "wb", buffering=0) as out:
            for line in lines:
                if line.endswith(mark):
                    _pass(line[: -len(mark)], out, as_json)
                    os.write(telling, b".")
                else:
                    _pass(line, out, as_json)
    finally:
        os._exit(0)


def _pass(line: bytes, out: BinaryIO, as_json: Callable[[str], str]) -> None:
    if not line.strip():
        return
    if not _is_json(line):
        line = as_json(line.decode(errors="replace").rstrip()).encode(errors="backslashreplace")
    out.write(line.rstrip(b"\n") + b"\n")


def _is_json(line: bytes) -> bool:
    try:
        return isinstance(json.loads(_PRIORITY.sub(b"", line, count=1) if line.startswith(b"<") else line), dict)
    except ValueError:
        return False
