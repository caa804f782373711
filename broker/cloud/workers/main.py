"""A process that runs tails: `python -m broker.cloud.workers.main FD`.

`broker.cloud.workers.pool` starts it and holds the other end of FD. It ends when that end is closed, and only then:
signals to the group, as Ctrl-C or a service manager sends them, are for the dispatcher, which lets its workers finish.
"""

import contextlib
import json
import logging
import os
import shutil
import signal
import sys
import threading
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from broker.cloud.answerer import Answerer
from broker.cloud.mapped_files import TailFiles
from broker.cloud.tail import Tails
from broker.cloud.workers import pipe
from tflsplit import errors
from tflsplit.package import reading


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker is to serve: `packages` as (path, digest), `warm` as (index of a package, cut). `folder` is where
    tails are written that have no file in their package, for all workers to map."""

    packages: tuple[tuple[str, str], ...]
    folder: str
    threads: int = 1
    wants_batches: bool = False
    warm: tuple[tuple[int, str], ...] = ()

    def as_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    def open(self) -> Answerer:
        """PackageError if a package is not what it was when the dispatcher opened it."""
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
            tails[index].warm(tails[index].package.cut(cut))
        return Answerer(tails)


def parse(data: bytes) -> Setup:
    fields = json.loads(data)
    packages = tuple((path, digest) for path, digest in fields.pop("packages"))
    return Setup(packages, warm=tuple((index, cut) for index, cut in fields.pop("warm")), **fields)


def receive(channel: "Connection[bytes, bytes]") -> Setup:
    """The dispatcher's first word; this process ends with it from now on."""
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
    """The dispatcher's end, as a worker finds it; signals are ignored from now on."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    return Connection(int(sys.argv[-1]))


def _end_with_parent(folder: str) -> None:
    """A tail that hangs would outlive a dispatcher that was killed, which leaves its folder behind, too."""
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
    # A dispatcher that lives kills its workers and removes the folder itself; this one was killed.
    shutil.rmtree(setup.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
