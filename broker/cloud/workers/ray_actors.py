"""Workers that are actors of an existing Ray cluster: the only file that uses Ray.

`broker.cloud.workers.pool` is the engine; an actor here has the interface of one of its worker processes. Frames and
answers are packed as for a process, but Ray wraps them in pickle: whoever reaches a cluster's ports can run code in it.
"""

import logging
import os
import socket
import tempfile
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from broker.cloud.answerer import Answer, Answerer, Job
from broker.cloud.workers import main, pipe, process
from broker.cloud.workers.pool import Workers
from broker.cloud.workers.process import WorkerError
from tflsplit import errors
from tflsplit.package import manifest, reading, writing
from tflsplit.package.reading import Package
from tflsplit.values.classes import replace

_CONNECT_S, _GOODBYE_S = 10.0, 2.0
_THREADS = 3  # of an actor: one runs tails, one waits for its end, one cleans up even if a tail hangs


def start(packages: Sequence[Package], count: int | None, *, address: str, threads: int = 1, **options: Any) -> Workers:
    """Starts `count` actors, by default as many as the cluster has CPUs for. `address` is Ray's: HOST:PORT, `auto` for
    the cluster of this machine, `local` for one that ends with this process. `options` are those of Workers.

    DeviceError without Ray. Nodes need this version of tflsplit. A package that is not at its path on a node is sent
    there.
    """
    ray = _connected(address)
    sent = [ray.put(_packed(each)) for each in packages]
    count = count or max(1, int(ray.cluster_resources().get("CPU", 0)) // threads)
    return Workers(packages, count, threads=threads, make_worker=partial(_Remote, ray, sent, threads), **options)


class _Remote:
    """An actor as a `broker.cloud.workers.pool.Worker`; `sent` are references to the packages."""

    def __init__(self, ray: Any, sent: Sequence[Any], cpus: int, answer_s: float) -> None:
        self._ray, self._sent, self._cpus, self._answer_s = ray, sent, cpus, answer_s
        self.pid = 0  # until it is started
        self._actor = ray.remote(_Actor).options(num_cpus=cpus, max_concurrency=_THREADS).remote()
        self._life = self._actor.live.remote().future()

    @property
    def has_ended(self) -> bool:
        return bool(self._life.done())

    def start(self, setup: main.Setup) -> None:
        try:
            self.pid, problem = self._ask(self._actor.open, setup.as_json(), self._sent, limit_s=process.START_S)
        except WorkerError as death:
            needs = f"{self._cpus} CPUs and this version of tflsplit"
            raise errors.DeviceError(f"a Ray actor, which needs {needs}, did not start: {death}") from death
        if problem:
            raise errors.DeviceError(problem)

    def answer(self, jobs: Sequence[Job]) -> tuple[list[Answer], int]:
        packed: bytes = self._ask(self._actor.answer, pipe.pack_jobs(jobs), limit_s=self._answer_s)
        return pipe.unpack_answers(packed)

    def how_it_ended(self) -> str:
        return _words(self._life.exception(_GOODBYE_S))

    def kill(self) -> None:
        self._ray.wait([self._actor.leave.remote()], timeout=_GOODBYE_S)
        self._ray.kill(self._actor)

    def end(self) -> None:
        if not self.has_ended:
            self.kill()

    def _ask(self, method: Any, *arguments: Any, limit_s: float) -> Any:
        try:
            return self._ray.get(method.remote(*arguments), timeout=limit_s)
        except self._ray.exceptions.GetTimeoutError:
            raise WorkerError(f"it did not answer within {limit_s:g} s") from None
        except self._ray.exceptions.RayError as death:
            raise WorkerError(_words(death)) from death


class _Actor:
    """Runs in a process of a node of the cluster."""

    def __init__(self) -> None:
        logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
        self._folder = tempfile.TemporaryDirectory(prefix="tflsplit-ray-")
        self._answerer: Answerer

    def open(self, setup_json: bytes, sent: Sequence[Any]) -> tuple[int, str]:
        """Opens the packages; returns the process id, and the problem with a package or an empty text."""
        import ray

        setup, folder = main.parse(setup_json), Path(self._folder.name)
        try:
            packages = tuple(
                (path if (Path(path) / reading.MANIFEST).is_file() else _unpacked(folder, path, ray.get(each)), digest)
                for (path, digest), each in zip(setup.packages, sent, strict=True)
            )
            self._answerer = replace(setup, packages=packages, folder=str(folder)).open()
        except errors.TflsplitError as problem:
            return os.getpid(), str(problem)
        return os.getpid(), ""

    def answer(self, packed: bytes) -> bytes:
        jobs = pipe.unpack_jobs(packed)
        return pipe.pack_answers(self._answerer.answer_all(jobs), self._answerer.batches_from(jobs[0]))

    def live(self) -> None:
        threading.Event().wait()  # waiting for this call shows the actor's end

    def leave(self) -> None:
        self._folder.cleanup()


def _packed(opened: Package) -> dict[str, bytes]:
    return {name: (opened.path / name).read_bytes() for name in (reading.MANIFEST, *opened.manifest.files)}


def _unpacked(folder: Path, path: str, files: dict[str, bytes]) -> str:
    described = manifest.parse(files.pop(reading.MANIFEST).decode(), name=path)
    return str(writing.write_files(folder / described.digest, described, files.items()).path)


def _connected(address: str) -> Any:
    try:
        import ray
    except ModuleNotFoundError as missing:
        raise errors.DeviceError("--engine ray needs Ray, in the cluster's version: pip install ray") from missing
    try:
        if ":" in address:  # Ray itself tries for minutes where nobody listens
            parts = urlsplit(address if "://" in address else f"//{address}")
            socket.create_connection((parts.hostname, parts.port or 0), _CONNECT_S).close()
        ray.init(address, configure_logging=False, ignore_reinit_error=True)
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as problem:
        remedy = "check --ray-address, and RAY_AUTH_MODE where a token is asked for"
        raise errors.DeviceError(f"Ray at {address}: {_words(problem)}; {remedy}") from problem
    return ray


def _words(problem: BaseException | None) -> str:
    return str(problem).strip().splitlines()[-1].partition(". ")[0]  # Ray's shortest description is there
