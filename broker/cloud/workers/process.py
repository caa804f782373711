"""A worker process, as the dispatcher uses it: starts it, sends it jobs, and ends it in any state."""

import contextlib
import os
import socket
import struct
import subprocess
from collections.abc import Sequence
from multiprocessing.connection import Connection

from broker.cloud.answerer import Answer, Job
from broker.cloud.workers import pipe
from broker.cloud.workers.main import Setup
from tflsplit import errors

# Opening packages checks every file's digest; a gigabyte takes some seconds, on a busy machine some more.
START_S = 120.0
_GONE_S = 2.0


class WorkerError(Exception):
    """The worker has ended, or must be ended; the text says why."""


class WorkerProcess:
    """A `broker.cloud.workers.pool.Worker` that may take `answer_s` for an answer. DeviceError if it cannot be
    started."""

    def __init__(self, command: Sequence[str], answer_s: float) -> None:
        self._answer_s = answer_s
        self._socket, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = _started(command, theirs.fileno())
            except OSError as problem:
                self._socket.close()
                raise errors.DeviceError(f"a worker process cannot be started: {problem}") from problem
        self._channel: Connection[bytes, bytes] = Connection(os.dup(self._socket.fileno()))

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def start(self, setup: Setup) -> None:
        self._limit(START_S)
        try:
            said = self._ask(setup.as_json())
        except WorkerError as death:
            raise errors.DeviceError(f"a worker process did not start: {death}") from death
        if said != pipe.READY:
            raise errors.DeviceError(said.decode(errors="replace"))
        self._limit(self._answer_s)

    def answer(self, jobs: Sequence[Job]) -> tuple[list[Answer], int]:
        return pipe.unpack_answers(self._ask(pipe.pack_jobs(jobs)))

    def how_it_ended(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GONE_S)
        code = self._process.returncode
        if code is None:
            return "it closed its channel"
        return f"it was killed by signal {-code}" if code < 0 else f"it ended with code {code}"

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> None:
        """Kills the process before closing its channel, or it would remove the folder as after our own end."""
        self._process.kill()
        self._process.wait()
        self._channel.close()
        self._socket.close()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def _ask(self, request: bytes) -> bytes:
        try:
            self._channel.send_bytes(request)
            return self._channel.recv_bytes(pipe.MAX_BYTES)
        except BlockingIOError:
            raise WorkerError("it did not answer in time and was killed") from None
        except (EOFError, OSError):
            raise WorkerError(self.how_it_ended()) from None

    def _limit(self, seconds: float) -> None:
        """Limits each read and write. The kernel keeps the time, which costs no system call for each frame."""
        limit = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, option, limit)


def _started(command: Sequence[str], channel: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [*command, str(channel)],
        stdin=subprocess.PIPE,  # held open: a worker ends when this process has gone
        stdout=subprocess.DEVNULL,
        pass_fds=(channel,),
        # A folder named broker in the working directory must not be imported as our code.
        env={**os.environ, "PYTHONSAFEPATH": "1"},
        start_new_session=True,
    )
