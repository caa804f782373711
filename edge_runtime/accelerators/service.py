"""Keeps a model in service on an accelerator that may fail: opens it again, and uses a fallback meanwhile if allowed.

One thread runs frames; while the accelerator is away another thread tries to open it, with growing waits.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from edge_runtime.accelerators.protocol import OpenModel
from tflsplit import errors
from tflsplit.graph.tensors import Array
from tflsplit.values.classes import dataclass

log = logging.getLogger(__name__)

# How often a frame that waits for the accelerator looks whether it was told to stop.
_LOOK_S = 0.2


class Condition(NamedTuple):
    """Where frames run: `accelerator` was asked for, `runs_on` computes (None: frames wait), and `reason` says why the
    two differ."""

    accelerator: str
    runs_on: str | None
    reason: str | None = None

    def as_json(self) -> dict[str, str | None]:
        return {"name": self.accelerator, "runs_on": self.runs_on, "reason": self.reason}


@dataclass(slots=True)
class Counters:
    """`failures` counts failures in service and failed openings; `frames_on_fallback` frames that the fallback ran."""

    failures: int = 0
    reopenings: int = 0
    frames_on_fallback: int = 0

    def as_json(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in self.__slots__}


class Retries(NamedTuple):
    """The wait before reopening is `first_s`, doubled after each failure up to `longest_s`, and `first_s` again for a
    device that served `stable_s`. Without a fallback the accelerator is given up after `tries` failures with no frame
    between them: after half a minute with these defaults."""

    first_s: float = 1.0
    longest_s: float = 60.0
    stable_s: float = 30.0
    tries: int = 6

    def wait_s(self, failures: int) -> float:
        return min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, 32))


DEFAULT_RETRIES = Retries()


class Service:
    """Opens the accelerator at once; DeviceError if that fails without a `fallback`. `close` closes the fallback too.
    `properties` are those of the model that was opened last.

    `run` is for one thread. It repeats the current frame after a failure, so a frame is lost only if `run` raises:
    DeviceError if the accelerator was given up, or `interrupt` was called while the frame waited.
    """

    def __init__(
        self,
        name: str,
        opens: Callable[[], OpenModel],
        fallback: OpenModel | None,
        retries: Retries = DEFAULT_RETRIES,
        *,
        counters: Counters | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counters = counters or Counters()
        self.name = name
        self.properties: Mapping[str, str] = {}
        self._opens = opens
        self._fallback = fallback
        self._retries = retries
        self._clock = clock
        self._opened_at_s = clock()
        self._failures_in_a_row = 0
        self._failures_unstable = 0
        self._is_interrupted = False
        self._closing = threading.Event()
        self._changed = threading.Condition()
        self._device: OpenModel | None = None
        self._gave_up: str | None = None
        self._reopener: threading.Thread | None = None
        self.condition = Condition(name, name)
        try:
            self._device = opens()
            self.properties = self._device.properties
            self._opened_at_s = clock()
        except errors.DeviceError as refused:
            if fallback is None:
                raise
            self._go_without(str(refused))

    def run(self, *arrays: Array) -> tuple[Array, ...]:
        while True:
            device = self._device
            if device is None and self._fallback is not None:
                self.counters.frames_on_fallback += 1
                return self._fallback.run(*arrays)
            if device is None:
                device = self._wait_for_the_device()
            try:
                outputs = device.run(*arrays)
            except errors.DeviceError as failure:
                self._device = None
                if self._clock() - self._opened_at_s >= self._retries.stable_s:
                    self._failures_unstable = 0
                device.close()
                self._go_without(str(failure))
            else:
                self._failures_in_a_row = 0
                return outputs

    def interrupt(self) -> None:
        """Makes a frame that waits for the accelerator fail now. Takes no lock: signal handlers may call it."""
        self._is_interrupted = True

    def close(self) -> None:
        self._closing.set()
        with self._changed:
            device, self._device = self._device, None
        for opened in (device, self._fallback):
            if opened is not None:
                opened.close()

    def _go_without(self, reason: str) -> None:
        runs_on = None if self._fallback is None else self._fallback.name
        self.condition = Condition(self.name, runs_on, reason)
        log.warning("accelerator lost name=%s runs_on=%s reason=%s", self.name, runs_on or "nothing", reason)
        if self._count_failure(reason):
            self._reopener = threading.Thread(target=self._reopen, name="accelerator-reopen", daemon=True)
            self._reopener.start()

    def _count_failure(self, reason: str) -> bool:
        """Counts a failure; returns whether to try again."""
        with self._changed:
            self.counters.failures += 1
            self._failures_in_a_row += 1
            self._failures_unstable += 1
            if self._fallback is None and self._failures_in_a_row >= self._retries.tries:
                self._gave_up = reason
                self._changed.notify_all()
            return self._gave_up is None

    def _reopen(self) -> None:
        while not self._closing.wait(self._retries.wait_s(self._failures_unstable)):
            try:
                opened = self._opens()
            except errors.DeviceError as refused:
                if self._count_failure(str(refused)):
                    continue
                return
            self._take(opened)
            return

    def _take(self, opened: OpenModel) -> None:
        with self._changed:
            if not self._closing.is_set():
                self.counters.reopenings += 1
                self.condition = Condition(self.name, self.name)
                self._device = opened
                self.properties = opened.properties
                self._opened_at_s = self._clock()
                self._changed.notify_all()
                log.info("accelerator is back name=%s", self.name)
                return
        opened.close()

    def _wait_for_the_device(self) -> OpenModel:
        with self._changed:
            while self._device is None:
                if self._gave_up is not None:
                    raise errors.DeviceError(
                        f"{self.name}: given up after {self._failures_in_a_row} failures in a row, the last: "
                        f"{self._gave_up}; --fallback cpu goes on without it"
                    )
                if self._is_interrupted:
                    raise errors.DeviceError(f"{self.name}: stopped while a frame waited for it to come back")
                self._changed.wait(_LOOK_S)
            return self._device
