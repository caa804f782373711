"""The protocol of engines, which answer frames, and the engine that runs tails in this process.

`broker.cloud.workers.pool` runs them in other processes. An engine knows nothing of brokers and topics.
"""

import logging
import threading
from collections.abc import Callable
from typing import Protocol

import numpy as np

from broker.cloud.answerer import Answer, Answerer, Done, Job
from broker.cloud.tail import Tails
from broker.messages import wire
from tflsplit.coding import feature_codec
from tflsplit.graph.cuts import Cut
from tflsplit.package.reading import Package
from tflsplit.values.classes import dataclass, fields

log = logging.getLogger(__name__)

UNOPENED = "tail not opened before its first frame cut=%s reason=%s"


@dataclass(slots=True)
class Counters:
    """`requeued` counts frames that were computed again because their worker died or hung; `states_forgotten` the
    streams whose state made room for others'."""

    requeued: int = 0
    workers_replaced: int = 0
    states_forgotten: int = 0


class Engine(Protocol):
    """Several clouds may share one; every method may be called from any thread."""

    @property
    def counters(self) -> Counters: ...

    @property
    def waiting(self) -> int:
        """Frames submitted that no tail has begun."""

    @property
    def workers(self) -> int | None:
        """Worker processes that are ready; None for an engine without workers."""

    def submit(self, job: Job, done: Done) -> None:
        """Answers a frame: calls `done` once, from any thread, maybe before this returns, but never after `close`. The
        caller bounds the number of frames."""

    def open(self, package: Package, cut: Cut, done: Callable[[], None]) -> None:
        """Opens a tail before its first frame comes, while no frame waits. Calls `done` once it is open wherever frames
        may be run, from any thread; never, with the reason in the log, where it cannot be opened."""

    def check(self) -> None:
        """DeviceError, with the reason, if the engine cannot answer any more frames."""

    def close(self) -> None:
        """Ends at once; unfinished frames get no answer."""


def zeros(package: Package, cut: Cut) -> Job:
    """A frame that opens the tail of a cut."""
    digest = bytes.fromhex(package.digest)[: wire.PACKAGE_BYTES]
    follows = 0 if package.manifest.is_stateful else None
    frame = wire.Frame(digest, cut.position, 0, 0, 0, 0, cut.boundary, follows=follows)
    arrays = tuple(np.zeros(spec.shape, spec.dtype) for spec in cut.boundary)
    return Job("", wire.encode(frame, arrays, feature_codec.Plain()), 0.0)


class Inline:
    """Runs one frame at a time in the thread that submits it, the quickest way for a single frame. A tail that hangs or
    crashes does so in this process."""

    _waiting = 0

    def __init__(self, answerer: Answerer) -> None:
        self.counters = Counters()
        self._answerer = answerer
        self._turn = threading.Lock()
        self._counting = threading.Lock()

    @classmethod
    def of(cls, *packages: Package, threads: int = 1) -> "Inline":
        """An engine for opened packages; `threads` are the CPU threads of a tail."""
        return cls(Answerer([Tails(package, threads=threads) for package in packages]))

    @property
    def waiting(self) -> int:
        return self._waiting

    @property
    def workers(self) -> int | None:
        return None

    def submit(self, job: Job, done: Done) -> None:
        if not self._turn.acquire(blocking=False):  # several clouds may wait for their turn
            self._count(1)
            self._turn.acquire()
            self._count(-1)
        try:
            answer = self._answerer.answer(job)
        finally:
            self._turn.release()
        done(answer)

    def open(self, package: Package, cut: Cut, done: Callable[[], None]) -> None:
        with self._turn:
            answer = self._answerer.answer(zeros(package, cut))
        if answer.refused is None:
            done()
        else:
            log.warning(UNOPENED, cut.id, answer.error)

    def _count(self, more: int) -> None:
        with self._counting:
            self._waiting += more

    def check(self) -> None:
        pass

    def close(self) -> None:
        with self._turn:
            self._answerer.close()


class Exchangeable:
    """An engine that another can take the place of between two frames; the one before is closed when its frames are
    answered. `counters` go on over all of them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._counted = [engine.counters]
        self._out: dict[Engine, int] = {engine: 0}
        self._changing = threading.Lock()

    @property
    def counters(self) -> Counters:
        names = [field.name for field in fields(Counters)]
        return Counters(**{name: sum(getattr(each, name) for each in self._counted) for name in names})

    @property
    def waiting(self) -> int:
        return self._engine.waiting

    @property
    def workers(self) -> int | None:
        return self._engine.workers

    def exchange(self, engine: Engine) -> None:
        with self._changing:
            before, self._engine = self._engine, engine
            self._counted.append(engine.counters)
            self._out[engine] = 0
            is_idle = self._out[before] == 0
        if is_idle:
            self._end(before)

    def submit(self, job: Job, done: Done) -> None:
        with self._changing:
            engine = self._engine
            self._out[engine] += 1

        def answered(answer: Answer) -> None:
            done(answer)
            with self._changing:
                self._out[engine] -= 1
                is_last = engine is not self._engine and self._out[engine] == 0
            if is_last:
                # Not on the thread of that engine, which closing it may wait for.
                threading.Thread(target=self._end, args=(engine,), name="cloud-exchange", daemon=True).start()

        engine.submit(job, answered)

    def _end(self, engine: Engine) -> None:
        with self._changing:
            is_there = self._out.pop(engine, None) is not None
        if is_there:
            engine.close()

    def open(self, package: Package, cut: Cut, done: Callable[[], None]) -> None:
        self._engine.open(package, cut, done)

    def check(self) -> None:
        self._engine.check()

    def close(self) -> None:
        for engine in list(self._out):
            self._end(engine)
