"""The CPU: the interpreter's own kernels (XNNPACK), in this process."""

import logging
import os
import threading
from collections.abc import Mapping
from typing import ClassVar

from edge_runtime.accelerators import protocol
from tflsplit import arguments, errors
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import Array, TensorSpec
from tflsplit.kernels import classes, probe
from tflsplit.values.classes import dataclass

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cpu:
    """`cores` are the cores to use, numbered as Linux does; empty: all that this process may use. Models take `batch`
    inputs at once, of which each has a leading 1."""

    name: ClassVar[str] = "cpu"
    needs_compiled: ClassVar[bool] = False
    is_external: ClassVar[bool] = False

    threads: int = 1
    cores: frozenset[int] = frozenset()
    batch: int = 1

    def __post_init__(self) -> None:
        if arguments.instance(self.threads, int, "threads") < 1:
            raise errors.SettingsError(f"{self.threads} CPU threads: give at least 1")

    def open(self, model: bytes, *, name: str) -> protocol.OpenModel:
        if not self.cores:
            return OnCpu(_opened(model, self.threads, name, self.batch), self)
        before = os.sched_getaffinity(0)
        _pin(self.cores)
        try:
            # The interpreter's threads inherit the cores of this thread.
            return OnCpu(_opened(model, self.threads, name, self.batch), self)
        finally:
            os.sched_setaffinity(0, before)


class OnCpu:
    """An open model. The calling thread computes too, so its first run binds it to the cores."""

    def __init__(self, interpreter: Interpreter, cpu: Cpu) -> None:
        self._interpreter = interpreter
        self._cores = cpu.cores
        self._bound: int | None = None
        self.name = cpu.name
        self.properties: Mapping[str, str] = {"threads": str(cpu.threads)}
        if cpu.cores:
            self.properties = {**self.properties, "cores": ",".join(map(str, sorted(cpu.cores)))}

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self._interpreter.outputs

    def run(self, *arrays: Array) -> tuple[Array, ...]:
        self._bind()
        return self._interpreter.run(*arrays)

    def step(self, state: bytes | None, *arrays: Array) -> tuple[tuple[Array, ...], bytes]:
        """As `Interpreter.step`."""
        self._bind()
        return self._interpreter.step(state, *arrays)

    def _bind(self) -> None:
        if self._cores and self._bound != threading.get_native_id():
            _pin(self._cores)
            self._bound = threading.get_native_id()

    def close(self) -> None:
        self._interpreter.close()


def _opened(model: bytes, threads: int, name: str, batch: int) -> Interpreter:
    opened = Interpreter(model, threads=threads, name=name, batch=batch)
    left = classes.without_xnnpack(opened.kinds()[1])
    # tflite-runtime never hands integers over, which `tflsplit doctor` says.
    if left and probe.runtime_version().startswith(classes.LITERT):
        log.warning("results may differ from other machines model=%s without_xnnpack=%s", name, ",".join(left))
    return opened


def _pin(cores: frozenset[int]) -> None:
    try:
        os.sched_setaffinity(0, cores)
    except OSError as cause:
        there = ",".join(map(str, sorted(os.sched_getaffinity(0))))
        raise errors.SettingsError(f"CPU cores {sorted(cores)}: this process may use {there}") from cause
