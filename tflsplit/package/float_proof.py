"""The proof that a float tail is what it claims: the float model's own remainder, behind a door that only dequantises.

Quantisation makes a head's boundary differ from the float model's, so no equality can be asked of the whole way. It is
asked of its two parts, bit for bit on one runtime:

- slice: the operators before the cut and the tail's operators, one after the other, all in float, are the float model;
- door: the tail fed with stored tensors gives what its operators give when fed with those, dequantised here.

How far head and float tail together come from the float model is a figure, not a claim.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tflsplit.graph import float_tail
from tflsplit.graph.cuts import Cut
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import Array, dequantise
from tflsplit.package.reading import Package


@dataclass(frozen=True, slots=True)
class FloatTail:
    """In how many samples the slice and the door of a cut's float tail differ in any bit. In dB: how closely the
    dequantised boundary follows the float model's (the worst tensor), and the results of head and tail its results.
    """

    cut: str
    slice_differs: int
    door_differs: int
    boundary_sqnr_db: float
    sqnr_db: float

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
        for sample in samples:
            real = [
                dequantise(array, spec).astype(wanted.dtype)
                for array, spec, wanted in zip(sample, package.manifest.inputs, whole.inputs, strict=True)
            ]
            expected, float_boundary = whole.run(*real), start.run(*real)
            slice_differs += _differ(remainder.run(*float_boundary), expected)
            stored = head.run(*sample)
            found = tail.run(*stored)
            opened = _opened(cut, counterparts, stored)
            door_differs += _differ(found, remainder.run(*opened.values()))
            for name, array, wanted_array in zip(opened, opened.values(), float_boundary, strict=True):
                boundaries.add(name, array, wanted_array)
            for place, (array, wanted_array) in enumerate(zip(found, expected, strict=True)):
                results.add(place, array, wanted_array)
    return FloatTail(cut.id, slice_differs, door_differs, boundaries.worst_db(), results.worst_db())


def _opened(cut: Cut, counterparts: Sequence[int], stored: Sequence[Array]) -> Mapping[int, Array]:
    """What the door has to make of a boundary: the real values of each counterpart, of the first tensor that stands
    for it."""
    opened: dict[int, Array] = {}
    for spec, counterpart, array in zip(cut.boundary, counterparts, stored, strict=True):
        opened.setdefault(counterpart, dequantise(array, spec) if spec.is_quantised else array)
    return opened


def _differ(found: Sequence[Array], expected: Sequence[Array]) -> bool:
    return any(one.tobytes() != other.tobytes() for one, other in zip(found, expected, strict=True))


class _Noise:
    """Signal and error of several tensors, over all samples."""

    def __init__(self) -> None:
        self._energies: dict[int, tuple[float, float]] = {}

    def add(self, name: int, found: Array, expected: Array) -> None:
        signal, error = self._energies.get(name, (0.0, 0.0))
        wide = expected.astype(np.float64)
        self._energies[name] = (
            signal + float(np.square(wide).sum()),
            error + float(np.square(wide - found.astype(np.float64)).sum()),
        )

    def worst_db(self) -> float:
        """Of the worst tensor. 300 dB, beyond float32, stands for no error at all, -300 for nothing but error."""
        return min((_decibels(*energies) for energies in self._energies.values()), default=300.0)


def _decibels(signal: float, error: float) -> float:
    if error == 0.0:
        return 300.0
    return round(max(-300.0, min(300.0, 10 * math.log10(signal / error))), 2) if signal > 0.0 else -300.0
