"""The child process that runs a delegate: `python -m edge_runtime.accelerators.worker CHANNEL`.

The argument is the file descriptor of a SOCK_SEQPACKET socket for requests and answers. The first request names the
library and the device's options, and is answered when it is loaded. Then models are opened, each with two file
descriptors beside the request: its bytes, and the shared memory of its tensors. `edge_runtime.accelerators.child` is
the parent's side.
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
from tflsplit.values.classes import dataclass

MESSAGE_BYTES = 65_536
DONE = b"done"
# The words of requests: {OPEN: number, "name", "threads"}, {RUN: number}, {CLOSE: number}.
OPEN, RUN, CLOSE = "open", "run", "close"
_DESCRIPTORS = 2
_GRACE_S = 1.0
# An exception's text goes into one message with room to spare.
_MOST_TEXT = 4_000


@dataclass(frozen=True, slots=True)
class _Model:
    interpreter: interpreter.Interpreter
    arrays: tuple[Array, ...]

    def run(self) -> None:
        count = len(self.interpreter.inputs)
        for shared, output in zip(self.arrays[count:], self.interpreter.run(*self.arrays[:count]), strict=True):
            np.copyto(shared, output)


class _Device:
    """The library, loaded, and the models that it runs.

    Each model has a delegate of its own, as makers ask; those of one process share the device.
    """

    def __init__(self, request: dict[str, Any]) -> None:
        self._library, self._options = request["library"], request["options"]
        self._limits_s = request["limits_s"]
        self._models: dict[int, _Model] = {}
        with _at_most(self._limits_s["open"]):
            self._unused = [self._load()]

    def answer(self, request: dict[str, Any], descriptors: list[int]) -> bytes:
        if OPEN in request:
            model, tensors = descriptors
            with _at_most(self._limits_s["open"]):
                opened = self._models[request[OPEN]] = self._open(request, model, tensors)
                opened.run()  # an accelerator loads the model into itself at its first inference
            return json.dumps(_description(opened.interpreter) | {"build": _build(self._library)}).encode()
        if RUN in request:
            with _at_most(self._limits_s["run"]):
                self._models[request[RUN]].run()
        elif CLOSE in request:
            self._models.pop(request[CLOSE]).interpreter.close()
        return DONE

    def close(self) -> None:
        for model in self._models.values():
            model.interpreter.close()

    def _load(self) -> Any:
        return interpreter.load_delegate(self._library, self._options)

    def _open(self, request: dict[str, Any], model: int, tensors: int) -> _Model:
        delegate = self._unused.pop() if self._unused else self._load()
        content = os.pread(model, os.fstat(model).st_size, 0)
        threads, name = request["threads"], request["name"]
        opened = interpreter.Interpreter(content, threads=threads, delegates=(delegate,), name=name)
        return _Model(opened, arena.views(tensors, (*opened.inputs, *opened.outputs)))


def main() -> None:
    _end_with_parent()
    with socket.socket(fileno=int(sys.argv[1])) as channel, contextlib.ExitStack() as stack:
        try:
            device = stack.enter_context(contextlib.closing(_Device(json.loads(channel.recv(MESSAGE_BYTES)))))
            channel.send(DONE)
            while True:
                message, descriptors, *_ = socket.recv_fds(channel, MESSAGE_BYTES, _DESCRIPTORS)
                if not message:
                    return
                try:
                    channel.send(device.answer(json.loads(message), descriptors))
                finally:
                    for descriptor in descriptors:
                        os.close(descriptor)
        except errors.DeviceError as failure:
            channel.send(_failed(failure))


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
