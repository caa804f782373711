"""Where frames are answered: one small protocol, and the engine that does it in this process.

`broker.cloud.workers.pool` spreads them over processes. An engine knows nothing of brokers and topics.
"""

import threading
from dataclasses import dataclass
from typing import Protocol

from broker.cloud.answerer import Answerer, Done, Job
from broker.cloud.tail import Tails
from tflsplit.package.reading import Package


@dataclass(slots=True)
class Counters:
    """`requeued` frames were done again because their worker died or hung."""

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
        """Processes that are ready to run tails; None where there are no others than this one."""

    def submit(self, job: Job, done: Done) -> None:
        """Takes the frame in charge; `done` is called once, from any thread, maybe before this returns. How many frames
        there may be at a time is for the caller to bound. After `close` it is never called."""

    def check(self) -> None:
        """DeviceError once no frame will be answered any more, with the reason."""

    def close(self) -> None:
        """Ends at once; what is not done stays undone."""


class Inline:
    """One frame at a time, in the thread that submits it: nothing is quicker for a single frame. A tail that hangs or
    crashes takes this process with it."""

    def __init__(self, answerer: Answerer) -> None:
        self.counters = Counters()
        self._answerer = answerer
        self._turn = threading.Lock()

    @classmethod
    def of(cls, *packages: Package, threads: int = 1) -> "Inline":
        """Of opened packages; `threads` are the CPU threads of a tail."""
        return cls(Answerer([Tails(package, threads=threads) for package in packages]))

    @property
    def waiting(self) -> int:
        return 0

    @property
    def workers(self) -> int | None:
        return None

    def submit(self, job: Job, done: Done) -> None:
        with self._turn:
            answer = self._answerer.answer(job)
        done(answer)

    def check(self) -> None:
        pass

    def close(self) -> None:
        with self._turn:
            self._answerer.close()
