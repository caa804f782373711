"""Tails that every worker opens before their first frames come, while no frame waits: what each has still to open."""

import logging
import threading
from collections.abc import Callable, Iterable

from broker.cloud import engine, tail
from broker.cloud.answerer import Job
from tflsplit.values.classes import dataclass

log = logging.getLogger(__name__)

# The index of a package, and the id of its cut.
Entry = tuple[int, str]


@dataclass(slots=True)
class _Wanted:
    job: Job
    done: Callable[[], None] | None  # None once it was called


class Openings:
    """Any thread may call any method. As many are remembered of each of `packages` as stay open."""

    def __init__(self, packages: int) -> None:
        self._most = packages * tail.KEPT
        self._wanted: dict[Entry, _Wanted] = {}
        self._opened: dict[int, set[Entry]] = {}  # by the number of the worker, of those that are ready
        self._guard = threading.Lock()

    @property
    def everywhere(self) -> tuple[Entry, ...]:
        """What a new worker opens before its first frame, since edges were told that it is open."""
        with self._guard:
            return tuple(entry for entry, wanted in self._wanted.items() if wanted.done is None)

    def want(self, entry: Entry, job: Job, done: Callable[[], None]) -> None:
        """`job` opens it; `done` is called when it is open in every worker."""
        with self._guard:
            self._wanted.pop(entry, None)
            self._wanted[entry] = _Wanted(job, done)
            if len(self._wanted) > self._most:
                del self._wanted[next(iter(self._wanted))]
            for has in self._opened.values():
                has.discard(entry)

    def lacks(self, number: int) -> tuple[Entry, Job] | None:
        """The next one for that worker."""
        with self._guard:
            has = self._opened[number]
            return next(((entry, wanted.job) for entry, wanted in self._wanted.items() if entry not in has), None)

    def started(self, number: int, opened: Iterable[Entry]) -> None:
        with self._guard:
            self._opened[number] = set(opened)

    def ended(self, number: int) -> None:
        with self._guard:
            self._opened.pop(number, None)
        self._look()

    def opened(self, number: int, entry: Entry) -> None:
        with self._guard:
            self._opened[number].add(entry)
        self._look()

    def failed(self, entry: Entry, reason: str) -> None:
        """It is not tried again; a frame of that cut is answered with the reason."""
        with self._guard:
            self._wanted.pop(entry, None)
        log.warning(engine.UNOPENED, entry[1], reason)

    def _look(self) -> None:
        """Tells of those that are open everywhere now."""
        ready = []
        with self._guard:
            for entry, wanted in self._wanted.items():
                if wanted.done and self._opened and all(entry in has for has in self._opened.values()):
                    ready.append(wanted.done)
                    wanted.done = None
        for done in ready:
            done()
