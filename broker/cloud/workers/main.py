"""The program of a worker process, which runs tails: `python -m broker.cloud.workers.main FD`.

`broker.cloud.workers.pool`, the dispatcher, starts it and holds the other end of the socket FD. The worker ends when
the dispatcher closes that end; it ignores Ctrl-C and SIGTERM to the group, because the dispatcher lets its workers
finish.
"""

import contextlib
import json
import logging
import os
import shutil
import signal
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path

from broker.cloud.answerer import Answerer
from broker.cloud.mapped_files import TailFiles
from broker.cloud.tail import Tails
from broker.cloud.workers import pipe
from tflsplit import errors
from tflsplit.package import reading
from tflsplit.values.classes import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker serves: `packages` as (path, digest), `warm` as (index of a package, cut). Tails that have no file
    in their package are written to `folder`, where all workers map them."""

    packages: tuple[tuple[str, str], ...]
    folder: str
    threads: int = 1
    wants_batches: bool = False
    warm: tuple[tuple[int, str], ...] = ()

    def as_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    def open(self) -> Answerer:
        """Opens the packages; PackageError if one has changed since the dispatcher opened it."""
        files = TailFiles(Path(self.folder))
        tails = []
        for path, digest in self.packages:
            opened = reading.open_package(Path(path))
            if opened.digest != digest:
                raise errors.PackageError(
                    f"{path}: its digest is {opened.digest[:16]}, it was {digest[:16]} when this cloud started; "
                    "restart the cloud to serve the new one"
                )
            tails.append(Tails(opened, threads=self.threads, files=files, wants_batches=self.wants_batches))
        for index, cut in self.warm:
            tails[index].open(tails[index].package.cut(cut))
        return Answerer(tails)


def parse(data: bytes) -> Setup:
    fields = json.loads(data)
    packages = tuple((path, digest) for path, digest in fields.pop("packages"))
    return Setup(packages, warm=tuple((index, cut) for index, cut in fields.pop("warm")), **fields)


def receive(channel: "Connection[bytes, bytes]") -> Setup:
    """The dispatcher's first message. From now on this process ends if the dispatcher does."""
    setup = parse(channel.recv_bytes())
    threading.Thread(target=_end_with_parent, args=(setup.folder,), name="parent-watch", daemon=True).start()
    return setup


def serve(channel: "Connection[bytes, bytes]", answerer: Answerer) -> None:
    """Answers until the dispatcher closes its end."""
    channel.send_bytes(pipe.READY)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            jobs = pipe.unpack_jobs(channel.recv_bytes())
            answers = answerer.answer_all(jobs)
            channel.send_bytes(pipe.pack_answers(answers, answerer.batches_from(jobs[0])))


def connect() -> "Connection[bytes, bytes]":
    """The connection to the dispatcher; from now on signals are ignored."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    return Connection(int(sys.argv[-1]))


def _end_with_parent(folder: str) -> None:
    """Ends this process, even if a tail hangs, and removes the folder when the dispatcher was killed."""
    os.read(0, 1)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


def main() -> None:
    channel = connect()
    setup = receive(channel)
    try:
        answerer = setup.open()
    except errors.TflsplitError as problem:
        channel.send_bytes(str(problem).encode())
        sys.exit(1)
    serve(channel, answerer)
    # A dispatcher that closes kills its workers and removes the folder itself; this one was killed.
    shutil.rmtree(setup.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
