"""The proof that a float tail does what the float model does behind the cut, on the dequantised boundary.

Quantisation makes a head's boundary differ from the float model's, so head and tail together do not equal it. Two parts
must be equal, bit for bit on one runtime:

- slice: the float operators before the cut and those of the tail, one after the other, are the float model;
- door: the tail fed with stored tensors gives what its operators give when they are fed with the dequantised tensors.

How close head and float tail together come to the float model is measured, not proven.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tflsplit.graph import float_tail
from tflsplit.graph.cuts import Cut
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import Array, decibels, dequantise
from tflsplit.package.reading import Package
from tflsplit.values.classes import dataclass


@dataclass(frozen=True, slots=True)
class FloatTail:
    """`slice_differs` and `door_differs` are numbers of samples in which any bit differs. `boundary_sqnr_db` compares
    the dequantised boundary with the float model's, `sqnr_db` the results of head and tail, each for the worst tensor
    and of what varies over the samples; None where nothing does.
    """

    cut: str
    slice_differs: int
    door_differs: int
    boundary_sqnr_db: float | None
    sqnr_db: float | None

    @property
    def is_exact(self) -> bool:
        return not (self.slice_differs or self.door_differs)

    def as_json(self) -> dict[str, object]:
        return {"exact": self.is_exact} | {name: getattr(self, name) for name in self.__slots__}


def check(package: Package, cut: Cut, samples: Sequence[tuple[Array, ...]]) -> FloatTail:
    """Run a cut's float tail on samples (stored-type inputs of the model). Raises CutError if the cut has none."""
    package.check_has_tail(cut)
    described = package.manifest.float_tails
    if described is None:
        raise ValueError(f"{package.path} has int8 tails")
    graph, counterparts = package.float_graph, described.counterparts[cut.id]
    slice_differs = door_differs = 0
    boundaries, results = _Noise(), _Noise()
    with (
        Interpreter(package.float_model_bytes(), name="float model") as whole,
        Interpreter(float_tail.start_bytes(graph, counterparts), name=f"float start of {cut.id}") as start,
        Interpreter(float_tail.remainder_bytes(graph, counterparts), name=f"float remainder of {cut.id}") as remainder,
        Interpreter(package.head_bytes(cut), name=f"head of {cut.id}") as head,
        Interpreter(package.tail_bytes(cut), name=f"float tail of {cut.id}") as tail,
    ):
        run_whole, run_start, run_rest, run_head, run_tail, run_opened = (
            side.stream(is_stateful=package.manifest.is_stateful)
            for side in (whole, start, remainder, head, tail, remainder)
        )
        for sample in samples:
            real = [
                dequantise(array, spec).astype(wanted.dtype)
                for array, spec, wanted in zip(sample, package.manifest.inputs, whole.inputs, strict=True)
            ]
            expected, float_boundary = run_whole(*real), run_start(*real)
            slice_differs += _differ(run_rest(*float_boundary), expected)
            stored = run_head(*sample)
            found = run_tail(*stored)
            opened = _opened(cut, counterparts, stored)
            door_differs += _differ(found, run_opened(*opened.values()))
            for name, array, wanted_array in zip(opened, opened.values(), float_boundary, strict=True):
                boundaries.add(name, array, wanted_array)
            for place, (array, wanted_array) in enumerate(zip(found, expected, strict=True)):
                results.add(place, array, wanted_array)
    return FloatTail(cut.id, slice_differs, door_differs, boundaries.worst_db(), results.worst_db())


def _opened(cut: Cut, counterparts: Sequence[int], stored: Sequence[Array]) -> Mapping[int, Array]:
    """The real values that the door must give for each counterpart: those of the first tensor that stands for it."""
    opened: dict[int, Array] = {}
    for spec, counterpart, array in zip(cut.boundary, counterparts, stored, strict=True):
        opened.setdefault(counterpart, dequantise(array, spec) if spec.is_quantised else array)
    return opened


def _differ(found: Sequence[Array], expected: Sequence[Array]) -> bool:
    return any(one.tobytes() != other.tobytes() for one, other in zip(found, expected, strict=True))


class _Noise:
    """The energies of signal and error of several tensors over all samples; what is the same in each is no signal."""

    def __init__(self) -> None:
        self._counted: dict[int, list[Any]] = defaultdict(lambda: [0, 0.0, 0.0, 0.0])

    def add(self, name: int, found: Array, expected: Array) -> None:
        wide = expected.astype(np.float64)
        error = np.square(wide - found.astype(np.float64)).sum()
        count, total, power, errors_before = self._counted[name]
        self._counted[name] = [count + 1, total + wide, power + np.square(wide).sum(), errors_before + error]

    def worst_db(self) -> float | None:
        """Of the worst tensor that varies; None if none does. 300 dB, beyond float32, stands for no error at all, -300
        for nothing but error."""
        known = []
        for count, total, power, error in self._counted.values():
            signal = float(power - np.square(total).sum() / count)
            if signal > 1e-12 * power:
                known.append(decibels(signal, float(error)))
        return round(max(-300.0, min(300.0, *known)), 2) if known else None
