"""Runs a delegate in a child process; this is the parent's side.

A library of a wrong build crashes the process that loads it, and an inference that hangs can be ended only with its
process. Devices fail in service too, so the process is used always, not for the first load only. Tensors are in shared
memory: an inference costs two messages and two copies more than in our own process. One process may run several models,
since a device is often its only owner's.
"""

import collections
import contextlib
import itertools
import json
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import IO, Any

from edge_runtime.accelerators import worker
from edge_runtime.accelerators.diagnosis import Failure, Stage
from tflsplit import errors
from tflsplit.graph.tensors import TensorSpec
from tflsplit.values.classes import dataclass

log = logging.getLogger(__name__)

# How long the process may take to end: when asked to; after a failure, when a frame waits and libraries often hang; and
# after SIGKILL. A process that is stuck in a driver takes longer and is left behind.
_GOODBYE_S = 2.0
_FAILED_GOODBYE_S = 0.2
_GONE_S = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds after which a delegate counts as hung: while it loads or takes over a model (which some compile then),
    and in one inference. The slowest known inference of an Edge TPU takes 0.34 s (VGG16)."""

    open_s: float = 60.0
    run_s: float = 5.0

    def __post_init__(self) -> None:
        if not (self.open_s > 0 and self.run_s > 0):
            raise errors.SettingsError(f"accelerator time limits {self.open_s} s and {self.run_s} s: give more than 0")


DEFAULT_LIMITS = Limits()


class ChildError(Exception):
    """The process failed and has ended; callers turn this into a DeviceError with a remedy."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure


class Child:
    """A process that has loaded `library`. ChildError from here or from a model: it has ended, and all models with it.

    For one caller at a time.
    """

    def __init__(self, library: str, options: Mapping[str, str], *, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._said: collections.deque[str] = collections.deque(maxlen=20)
        self._numbers = itertools.count()
        self._start()
        request = {
            "library": library,
            "options": dict(options),
            "limits_s": {"open": limits.open_s, "run": limits.run_s},
        }
        self._ask(request, limits.open_s, Stage.LOAD)

    @property
    def pid(self) -> int:
        return self._process.pid

    def open(self, model: int, tensors: int, *, name: str, threads: int) -> "Model":
        """Two file descriptors, which stay the caller's: the model's bytes, and memory of `arena.create`."""
        number = next(self._numbers)
        request = {worker.OPEN: number, "name": name, "threads": threads}
        return Model(self, number, json.loads(self._ask(request, self._limits.open_s, Stage.OPEN, model, tensors)))

    def run(self, number: int) -> None:
        self._ask({worker.RUN: number}, self._limits.run_s, Stage.RUN)

    def forget(self, number: int) -> None:
        """Closes a model."""
        self._ask({worker.CLOSE: number}, self._limits.open_s, Stage.RUN)

    def close(self) -> None:
        """Asks the process to close its device and end; kills it if it does not."""
        self._end(_GOODBYE_S)

    def _start(self) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "edge_runtime.accelerators.worker", str(theirs.fileno())],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(theirs.fileno(),),
                # A folder named edge_runtime in the working directory must not be imported as our code.
                env={**os.environ, "PYTHONSAFEPATH": "1"},
                start_new_session=True,
            )
        self._listener = threading.Thread(
            target=self._listen, args=(self._process.stderr,), name="accelerator-stderr", daemon=True
        )
        self._listener.start()

    def _listen(self, stderr: IO[bytes]) -> None:
        with stderr:
            for line in stderr:
                said = line.decode(errors="replace").strip()
                self._said.append(said)
                log.debug("accelerator said line=%s", said)

    def _ask(self, request: Mapping[str, object], limit_s: float, stage: Stage, *descriptors: int) -> bytes:
        try:
            self._channel.settimeout(limit_s)
            socket.send_fds(self._channel, [json.dumps(request).encode()], descriptors)
            answer = self._channel.recv(worker.MESSAGE_BYTES)
        except TimeoutError:
            self._end(0.0)
            raise ChildError(Failure(stage, waited_s=limit_s, said=self._last_words())) from None
        except OSError:
            answer = b""
        if answer == b"":
            self._end(_GOODBYE_S)
            raise ChildError(Failure(stage, status=self._process.returncode, said=self._last_words()))
        if answer.startswith(b'{"failure"'):
            self._end(_FAILED_GOODBYE_S)
            fields = json.loads(answer)["failure"]
            raise ChildError(Failure(stage, fields["kind"], fields["text"]))
        return answer

    def _end(self, patience_s: float) -> None:
        self._channel.close()
        process = self._process
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
        if process.poll() is None:
            process.kill()
        try:
            process.wait(_GONE_S)
        except subprocess.TimeoutExpired:
            log.error("accelerator process does not end pid=%d", process.pid)
        if process.stdin is not None:
            process.stdin.close()
        self._listener.join(_GONE_S)

    def _last_words(self) -> str:
        telling = [line for line in self._said if line and not line.startswith("INFO:")]
        return telling[-1][:300] if telling else ""


class Model:
    """A model in a `Child`, as the process describes it. Its tensors are where the caller has put them."""

    def __init__(self, child: Child, number: int, fields: Mapping[str, Any]) -> None:
        self._child = child
        self._number = number
        self.inputs, self.outputs = _specs(fields, "inputs"), _specs(fields, "outputs")
        self.delegated_parts: int = fields["delegated_parts"]
        self.build: str = fields["build"]

    def run(self) -> None:
        """Computes the outputs' memory from the inputs'."""
        self._child.run(self._number)

    def close(self) -> None:
        self._child.forget(self._number)


def _specs(fields: Mapping[str, Any], side: str) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec.from_json(spec) for spec in fields[side])
