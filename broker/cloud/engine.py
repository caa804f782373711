"""The protocol of engines, which answer frames, and the engine that runs tails in this process.

`broker.cloud.workers.pool` runs them in other processes. An engine knows nothing of brokers and topics.
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from broker.cloud.answerer import Answer, Answerer, Done, Job
from broker.cloud.tail import Tails
from broker.messages import wire
from tflsplit.coding import feature_codec
from tflsplit.graph.cuts import Cut
from tflsplit.package.reading import Package


@dataclass(slots=True)
class Counters:
    """`requeued` counts frames that were computed again because their worker died or hung."""

    requeued: int = 0
    workers_replaced: int = 0


class Engine(Protocol):
    """Several clouds may share one; every method may be called from any thread."""

    counters: Counters

    @property
    def waiting(self) -> int:
        """Frames submitted that no tail has begun."""

    @property
    def workers(self) -> int | None:
        """Worker processes that are ready; None for an engine without workers."""

    def submit(self, job: Job, done: Done) -> None:
        """Answers a frame: calls `done` once, from any thread, maybe before this returns, but never after `close`. The
        caller bounds the number of frames."""

    def check(self) -> None:
        """DeviceError, with the reason, if the engine cannot answer any more frames."""

    def close(self) -> None:
        """Ends at once; unfinished frames get no answer."""


class Ahead:
    """Tails to open before their first frames come, one at a time and while no frame waits: a frame of zeros goes to
    each worker, as far as one is free, and nobody hears of its answer. `on_open` is called, on any thread, when they
    have answered."""

    def __init__(self, engine: Engine, on_open: Callable[[Package, Cut], None]) -> None:
        self._engine = engine
        self._on_open = on_open
        self._wanted: deque[tuple[Package, Cut]] = deque()

    def __len__(self) -> int:
        return len(self._wanted)

    def want(self, package: Package, cut: Cut) -> None:
        self._wanted.append((package, cut))

    def open_next(self) -> None:
        if not self._wanted:
            return
        package, cut = self._wanted.popleft()
        digest = bytes.fromhex(package.digest)[: wire.PACKAGE_BYTES]
        frame = wire.Frame(digest, cut.position, 0, 0, 0, 0, cut.boundary)
        zeros = tuple(np.zeros(spec.shape, spec.dtype) for spec in cut.boundary)
        job = Job("", wire.encode(frame, zeros, feature_codec.Plain()), 0.0)
        missing = [None] * (self._engine.workers or 1)

        def done(answer: Answer) -> None:
            missing.pop()
            if not missing and answer.refused is None:
                self._on_open(package, cut)

        for _ in tuple(missing):
            self._engine.submit(job, done)


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
        self._count(1)  # several clouds may wait for their turn
        with self._turn:
            self._count(-1)
            answer = self._answerer.answer(job)
        done(answer)

    def _count(self, more: int) -> None:
        with self._counting:
            self._waiting += more

    def check(self) -> None:
        pass

    def close(self) -> None:
        with self._turn:
            self._answerer.close()
