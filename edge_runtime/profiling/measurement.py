"""One measurement of one cut for a profile: load its half, warm it up, time some runs and the coding, unload it.

Every measurement loads the half again. So only one half is in memory, the caches hold what its own earlier runs left,
as in service, and differences from one loading to the next (the place in memory) are in the samples.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

from edge_runtime.accelerators.protocol import Accelerator, OpenModel
from edge_runtime.machine import environment
from edge_runtime.profiling import overhead
from tflsplit import errors
from tflsplit.graph.cuts import Cut
from tflsplit.graph.tensors import Array
from tflsplit.package.reading import Package
from tflsplit.timings import sampling
from tflsplit.timings.profiles import FEWEST_RUNS, Side
from tflsplit.values.classes import dataclass

Clock = Callable[[], float]

_MOST_WARM_UPS = 20
_MOST_RUNS = 40
_CODINGS = 5


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measurement, in seconds and bytes; `coded_bytes` is the mean over the features (edge only).

    `took_s` is the time of the whole measurement, with slicing and warming up.
    """

    cut: str
    took_s: float
    load_s: float
    memory_bytes: int
    run_s: tuple[float, ...]
    coding_s: tuple[float, ...]
    coded_bytes: float | None

    def as_json(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Measurement":
        coded_bytes = fields["coded_bytes"]
        return cls(
            cut=str(fields["cut"]),
            took_s=float(fields["took_s"]),
            load_s=float(fields["load_s"]),
            memory_bytes=int(fields["memory_bytes"]),
            run_s=tuple(map(float, fields["run_s"])),
            coding_s=tuple(map(float, fields["coding_s"])),
            coded_bytes=None if coded_bytes is None else float(coded_bytes),
        )


@dataclass(frozen=True, slots=True)
class Measurer:
    """Measures cuts of one package on one side. `outputs` are the model's for any input, for making results.

    `duration_s` is about how long the timed runs of a measurement may take. A frame holds `batch` inputs: the edge's
    `accelerator` takes them at once, the cloud's one after another, as a cloud runs them.
    """

    package: Package
    side: Side
    accelerator: Accelerator
    outputs: tuple[Array, ...]
    duration_s: float = 0.03
    clock: Clock = time.perf_counter
    batch: int = 1

    def model(self, cut: Cut) -> bytes | None:
        """The cut's half for this accelerator; None if there is nothing to run (the head of `input`).

        PackageError if the accelerator runs compiled heads only and this one was not compiled.
        """
        if self.side is Side.CLOUD:
            return self.package.tail_bytes(cut)
        if not cut.head.operators:
            return None
        if not self.accelerator.needs_compiled:
            return self.package.head_bytes(cut)
        path = self.package.file(cut, "head_edgetpu")
        if path is None:
            raise errors.PackageError(
                f"{self.package.path}: the head of cut {cut.id} is not compiled for {self.accelerator.name}"
            )
        return (self.package.path / path).read_bytes()

    def measure(
        self, cut: Cut, inputs: Sequence[tuple[Array, ...]], boundaries: Sequence[tuple[Array, ...]]
    ) -> Measurement:
        """`inputs` are the model's for each of some frames, `boundaries` what crosses the cut for each of them."""
        arrived_s = self.clock()
        given = inputs if self.side is Side.EDGE else boundaries
        load_s, memory_bytes, run_s = 0.0, 0, (0.0,) * FEWEST_RUNS
        model = self.model(cut)
        if model is not None:
            held_bytes, began_s = environment.allocated_bytes(), self.clock()
            half = self.accelerator.open(model, name=f"{self.package.path}: {self.side.value} half of {cut.id}")
            load_s = self.clock() - began_s
            try:
                run_s = self._run(half, given)
                # Weights are unpacked at the first run: only now all memory is allocated.
                memory_bytes = max(0, environment.allocated_bytes() - held_bytes)
            finally:
                half.close()
        coding_s, coded_bytes = self._code(cut, boundaries)
        took_s = self.clock() - arrived_s
        return Measurement(cut.id, took_s, load_s, memory_bytes, run_s, coding_s, coded_bytes)

    def _run(self, half: OpenModel, given: Sequence[tuple[Array, ...]]) -> tuple[float, ...]:
        warming: list[float] = []
        while len(warming) < _MOST_WARM_UPS and not sampling.is_warm(warming):
            warming.append(self._time_run(half, given[len(warming) % len(given)]))
        runs = round(self.duration_s / max(warming[-1], 1e-9))
        count = max(FEWEST_RUNS, min(_MOST_RUNS, runs))
        return tuple(self._time_run(half, given[number % len(given)]) for number in range(count))

    def _time_run(self, half: OpenModel, arrays: tuple[Array, ...]) -> float:
        began_s = self.clock()
        if self.side is Side.CLOUD and self.batch > 1:
            for row in range(self.batch):
                half.run(*(array[row : row + 1] for array in arrays))
        else:
            half.run(*arrays)
        return self.clock() - began_s

    def _code(self, cut: Cut, boundaries: Sequence[tuple[Array, ...]]) -> tuple[tuple[float, ...], float | None]:
        """Times what a side does to a frame besides running its half; the mean bytes of a coded payload (edge only)."""
        frame = overhead.Overhead(self.package, cut, batch=self.batch)
        coded = [frame.encode(boundary) for boundary in boundaries]
        answers = frame.answer(coded[0], self.outputs)
        samples = []
        for number in range(_CODINGS):
            place = number % len(boundaries)
            began_s = self.clock()
            if self.side is Side.EDGE:
                frame.encode(boundaries[place])
                frame.read(answers)
            else:
                frame.answer(coded[place], self.outputs)
            samples.append(self.clock() - began_s)
        if self.side is Side.CLOUD:
            return tuple(samples), None
        return tuple(samples), sum(map(frame.coded_bytes, coded)) / len(coded)
