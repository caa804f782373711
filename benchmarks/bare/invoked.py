"""Adds up the processor time that a process spends in its interpreter, in a file where another process reads it.

Run with such a file and the arguments of `tflsplit`, it is that command.
"""

import mmap
import struct
import sys
import time
from pathlib import Path

from ai_edge_litert import interpreter

_SECONDS = struct.Struct("d")


def note(path: str) -> None:
    """From now on, of all inferences of this process, each in the thread that asks for it."""
    Path(path).write_bytes(_SECONDS.pack(0.0))
    with Path(path).open("r+b") as stream:
        held = mmap.mmap(stream.fileno(), _SECONDS.size)
    plain, spent_s = interpreter.Interpreter.invoke, 0.0

    def invoke(self: interpreter.Interpreter) -> None:
        nonlocal spent_s
        began_s = time.thread_time()
        plain(self)
        spent_s += time.thread_time() - began_s
        _SECONDS.pack_into(held, 0, spent_s)

    interpreter.Interpreter.invoke = invoke


def spent_s(path: str) -> float:
    return _SECONDS.unpack(Path(path).read_bytes())[0]


if __name__ == "__main__":
    from tflsplit.cli import main

    note(sys.argv.pop(1))
    main.main()
