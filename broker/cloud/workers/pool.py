"""The engine that distributes frames over workers: processes of this machine, or others that `make_worker` starts.

Each worker has a thread, which takes a frame from the queue when its worker is free and waits for the answer. A worker
that dies or hangs is replaced, and the next free worker gets its frame. A frame over which three workers died is
refused.
"""

import functools
import logging
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from broker.cloud import answerer, batching, engine
from broker.cloud.answerer import Answer, Done, Job, Refused
from broker.cloud.engine import Counters
from broker.cloud.workers import openings, pull_queue
from broker.cloud.workers.main import Setup
from broker.cloud.workers.process import WorkerError, WorkerProcess
from broker.cloud.workers.pull_queue import Waiting
from tflsplit import errors
from tflsplit.graph.cuts import Cut
from tflsplit.package.reading import Package
from tflsplit.values.classes import replace

log = logging.getLogger(__name__)

TAIL_TIMEOUT_S = 60.0
# If so many workers died over one frame, the frame is the cause: chance may hit it twice, a bug hits it every time.
MOST_DEATHS = 3

# How often an idle worker is checked; no frame waits for it.
_LOOK_S = 0.2
# The pause between two starts of a worker doubles until the worker has answered. A start costs half a second of a core.
_FIRST_PAUSE_S, _MOST_PAUSE_S = 0.1, 5.0
# Failed starts in a row, with no worker alive, after which the cloud gives up.
_MOST_FAILED_STARTS = 3


class Worker(Protocol):
    """Runs tails in another process. For one thread. WorkerError if it has ended or takes too long."""

    @property
    def pid(self) -> int: ...

    @property
    def has_ended(self) -> bool:
        """Read before each frame, so it has to be quick."""

    def start(self, setup: Setup) -> None:
        """Waits until it is ready. DeviceError with its message if it cannot serve `setup`."""

    def answer(self, jobs: Sequence[Job]) -> tuple[list[Answer], int]:
        """The answers, and from how many frames of the first one's cut a batch is quicker (0: never)."""

    def how_it_ended(self) -> str: ...

    def kill(self) -> None:
        """Ends the worker at once, from any thread."""

    def end(self) -> None:
        """Ends the worker and frees its resources."""


# Makes a worker that may take so many seconds for an answer; DeviceError if it cannot be made.
WorkerFactory = Callable[[float], Worker]
_PROCESS = functools.partial(WorkerProcess, (sys.executable, "-m", "broker.cloud.workers.main"))


class Workers:
    """`count` workers, each serving all `packages`. DeviceError, or the workers' error, if none can be started.

    After `tail_timeout_s` a tail counts as hung. `warm` are cuts, as (package, cut), to load before the first frame.
    With a `batch_window_s`, a frame waits that long for others of its cut if a batch of them is quicker.
    """

    def __init__(
        self,
        packages: Sequence[Package],
        count: int,
        *,
        threads: int = 1,
        warm: Sequence[tuple[Package, str]] = (),
        tail_timeout_s: float = TAIL_TIMEOUT_S,
        batch_window_s: float | None = None,
        make_worker: WorkerFactory = _PROCESS,
    ) -> None:
        self.counters = Counters()
        self._queue = pull_queue.PullQueue()
        self._packages = tuple(packages)
        self._openings = openings.Openings(len(packages))
        self._tail_timeout_s = tail_timeout_s
        self._batch_window_s = batch_window_s
        self._batches_from: dict[tuple[bytes, int], int] = {}  # by package and cut, as workers reported
        self._make_worker = make_worker
        self._changed = threading.Condition()  # guards what follows
        self._living: set[Worker] = set()
        self._ready: dict[int, Worker] = {}
        self._failed_starts = [0] * count
        self._problem: Exception | None = None
        self._failure: Exception | None = None
        self._closing = threading.Event()
        self._folder = tempfile.TemporaryDirectory(prefix="tflsplit-tails-")
        self._setup = Setup(
            tuple((str(package.path.resolve()), package.digest) for package in packages),
            self._folder.name,
            threads,
            batch_window_s is not None,
            tuple((packages.index(package), cut) for package, cut in warm),
        )
        self._threads = [
            threading.Thread(target=self._keep, args=(number,), name=f"worker-{number}", daemon=True)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()
        self._await_start()

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def workers(self) -> int | None:
        return len(self.pids)

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the workers that are ready."""
        with self._changed:
            return tuple(worker.pid for worker in self._ready.values())

    def submit(self, job: Job, done: Done) -> None:
        self._queue.put(Waiting(job, done))

    def open(self, package: Package, cut: Cut, done: Callable[[], None]) -> None:
        self._openings.want((self._packages.index(package), cut.id), engine.zeros(package, cut), done)

    def check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        self._closing.set()
        self._queue.close()
        with self._changed:
            for worker in self._living:
                worker.kill()
        for thread in self._threads:
            thread.join()
        self._folder.cleanup()

    def _await_start(self) -> None:
        """Waits until every worker has started or failed; raises if all failed."""

        def is_known() -> bool:
            return self._failure is not None or all(
                number in self._ready or failed for number, failed in enumerate(self._failed_starts)
            )

        with self._changed:
            self._changed.wait_for(is_known)
            if self._ready:
                return
        self.close()
        raise self._failure or self._problem or errors.DeviceError("no worker can be started")

    def _keep(self, number: int) -> None:
        """Keeps one worker running until the engine is closed."""
        try:
            pause_s = 0.0
            while not self._closing.is_set():
                has_answered = self._run_one(number)
                pause_s = _FIRST_PAUSE_S if has_answered else min(max(pause_s * 2, _FIRST_PAUSE_S), _MOST_PAUSE_S)
                if not self._closing.wait(pause_s):
                    self.counters.workers_replaced += 1
        except Exception as bug:
            # A thread's exception would be printed and forgotten, and frames would wait for this worker for ever.
            log.exception("worker thread failed")
            with self._changed:
                self._failure = self._failure or bug
                self._changed.notify_all()

    def _run_one(self, number: int) -> bool:
        """Runs one worker from start to end; returns whether it answered anything."""
        try:
            worker = self._make_worker(self._tail_timeout_s)
        except errors.DeviceError as problem:
            self._note_failed_start(number, problem)
            return False
        answered = 0
        try:
            self._start(number, worker)
            while not self._closing.is_set():
                answered += self._serve(number, worker)
        except errors.DeviceError as problem:
            self._note_failed_start(number, problem)
        except WorkerError as death:
            if not self._closing.is_set():
                log.warning("worker replaced number=%d pid=%d reason=%s", number, worker.pid, death)
        finally:
            with self._changed:
                self._living.discard(worker)
                self._ready.pop(number, None)
            self._openings.ended(number)
            worker.end()
        return answered > 0

    def _start(self, number: int, worker: Worker) -> None:
        with self._changed:
            self._living.add(worker)
            if self._closing.is_set():
                worker.kill()
        setup = replace(self._setup, warm=(*self._setup.warm, *self._openings.everywhere))
        worker.start(setup)
        self._openings.started(number, setup.warm)
        with self._changed:
            self._ready[number] = worker
            self._failed_starts[number] = 0
            self._changed.notify_all()

    def _serve(self, number: int, worker: Worker) -> int:
        """Has the next frame answered, if one comes soon; returns how many frames were answered."""
        lacking = self._openings.lacks(number)
        first = self._queue.take(0.0 if lacking else _LOOK_S)
        if worker.has_ended:
            if first is not None:
                self._queue.put_back(first)
            raise WorkerError(f"it ended while idle, {worker.how_it_ended()}")
        if first is None:
            return 0 if lacking is None else self._open(number, worker, *lacking)
        taken = [first, *self._others(first)]
        try:
            answers, batches_from = worker.answer([waiting.job for waiting in taken])
        except WorkerError as death:
            self._do_again(taken, str(death))
            raise
        if self._batch_window_s is not None and first.kind is not None:
            self._batches_from[first.kind] = batches_from
        for waiting, answer in zip(taken, answers, strict=True):
            self._queue.served(waiting, answer)
            waiting.done(answer)
        return len(answers)

    def _open(self, number: int, worker: Worker, entry: openings.Entry, job: Job) -> int:
        """Has a tail opened; returns 1, the answer that nobody hears of."""
        try:
            (answer,), _ = worker.answer([job])
        except WorkerError as death:
            self._openings.failed(entry, str(death))
            raise
        if answer.refused is None:
            self._openings.opened(number, entry)
        else:
            self._openings.failed(entry, answer.error)
        return 1

    def _others(self, first: Waiting) -> list[Waiting]:
        """Frames to run in a batch with the first, if batches are wanted and known to be quicker."""
        if self._batch_window_s is None or first.kind is None or not self._batches_from.get(first.kind):
            return []
        until_s = first.since_s + self._batch_window_s
        return self._queue.take_like(first, most=batching.SIZE - 1, until_s=until_s)

    def _do_again(self, taken: Sequence[Waiting], how: str) -> None:
        if self._closing.is_set():
            return
        for waiting in reversed(taken):
            waiting.deaths += 1
            if waiting.deaths < MOST_DEATHS:
                self.counters.requeued += 1
                self._queue.put_back(waiting)
            else:
                reason = f"{waiting.deaths} workers ended or hung on this frame, the last one: {how}"
                waiting.done(answerer.refusal(waiting.job, reason, Refused.POISON))

    def _note_failed_start(self, number: int, problem: Exception) -> None:
        if self._closing.is_set():
            return
        log.error("worker not started number=%d reason=%s", number, problem)
        with self._changed:
            self._failed_starts[number] += 1
            self._problem = problem
            if not self._ready and max(self._failed_starts) >= _MOST_FAILED_STARTS:
                self._failure = errors.DeviceError(f"no worker can be started: {problem}")
            self._changed.notify_all()
