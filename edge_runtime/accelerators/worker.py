"""The child process that runs a delegate: `python -m edge_runtime.accelerators.worker CHANNEL MODEL TENSORS`.

The arguments are file descriptors: a SOCK_SEQPACKET socket for requests and answers, the model's bytes, and the shared
memory of the tensors. `edge_runtime.accelerators.child` is the parent's side.
"""

import contextlib
import hashlib
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.accelerators import arena
from tflsplit import errors
from tflsplit.graph import interpreter
from tflsplit.graph.tensors import Array

MESSAGE_BYTES = 65_536
OPEN = b"open"
RUN = b"run"
DONE = b"done"
_GRACE_S = 1.0
# An exception's text goes into one message with room to spare.
_MOST_TEXT = 4_000


def main() -> None:
    channel_fd, model_fd, tensors_fd = (int(argument) for argument in sys.argv[1:4])
    _end_with_parent()
    with socket.socket(fileno=channel_fd) as channel:
        request = json.loads(channel.recv(MESSAGE_BYTES))
        limits = request["limits_s"]
        try:
            with _at_most(limits["open"]):
                delegate = interpreter.load_delegate(request["library"], request["options"])
            channel.send(DONE)
            if channel.recv(MESSAGE_BYTES) == OPEN:
                with _at_most(limits["open"]):
                    opened = _open(request, delegate, model_fd)
                    arrays = arena.views(tensors_fd, (*opened.inputs, *opened.outputs))
                    _run(opened, arrays)  # an accelerator loads the model into itself at its first inference
                with opened:
                    _serve(channel, request["library"], opened, arrays, limits["run"])
        except errors.DeviceError as failure:
            channel.send(_failed(failure))


def _open(request: dict[str, Any], delegate: Any, model_fd: int) -> interpreter.Interpreter:
    model = os.pread(model_fd, os.fstat(model_fd).st_size, 0)
    return interpreter.Interpreter(model, threads=request["threads"], delegates=(delegate,), name=request["name"])


def _serve(
    channel: socket.socket, library: str, opened: interpreter.Interpreter, arrays: tuple[Array, ...], run_limit_s: float
) -> None:
    channel.send(json.dumps(_description(opened) | {"build": _build(library)}).encode())
    while channel.recv(MESSAGE_BYTES) == RUN:
        with _at_most(run_limit_s):
            _run(opened, arrays)
        channel.send(DONE)


def _run(opened: interpreter.Interpreter, arrays: tuple[Array, ...]) -> None:
    count = len(opened.inputs)
    for shared, output in zip(arrays[count:], opened.run(*arrays[:count]), strict=True):
        np.copyto(shared, output)


def _description(opened: interpreter.Interpreter) -> dict[str, object]:
    return {
        "inputs": [spec.as_json() for spec in opened.inputs],
        "outputs": [spec.as_json() for spec in opened.outputs],
        "delegated_parts": opened.delegated_parts,
    }


def _build(library: str) -> str:
    """Tells builds of a library apart, by the file that was loaded for a name like libedgetpu.so.1."""
    stem = Path(library).name.partition(".")[0]
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        files = {line.split(maxsplit=5)[5].strip() for line in maps if stem in line}
    digest = hashlib.sha256()
    for file in sorted(files):
        with contextlib.suppress(OSError):
            digest.update(Path(file).read_bytes())
    return digest.hexdigest()[:16] if files else ""


def _failed(failure: errors.DeviceError) -> bytes:
    cause = failure.__cause__ or failure
    return json.dumps({"failure": {"kind": type(cause).__name__, "text": str(cause)[:_MOST_TEXT]}}).encode()


@contextmanager
def _at_most(limit_s: float) -> Iterator[None]:
    """Makes the kernel end this process if the block hangs, even if the parent has ended.

    The thread that watches the parent is not enough: a library that hangs while it loads holds Python's lock.
    """
    signal.setitimer(signal.ITIMER_REAL, limit_s + _GRACE_S)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0.0)


def _end_with_parent() -> None:
    """Ignores Ctrl-C and SIGTERM to the group: the parent ends this process when it has drained.

    Standard input is a pipe that nobody writes to: it closes when the parent ends.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)

    def wait_for_parent() -> None:
        os.read(sys.stdin.fileno(), 1)
        os._exit(0)

    threading.Thread(target=wait_for_parent, name="parent-watch", daemon=True).start()


if __name__ == "__main__":
    main()
