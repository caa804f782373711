"""Which tensor of the float file each tensor of the int8 file stands for, confirmed by running both.

Both files come from one frozen graph through one converter, which may fuse them differently. A tensor's name, or the
operator that makes it, only proposes a counterpart; the tensor must track the float one on samples. That is asked of a
float twin of the int8 file first, where rounding has not drowned what is to be compared, then of the int8 file itself.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from converters.loading import quiet
from converters.loading.model import stored_samples
from tflsplit import errors
from tflsplit.graph import flatgraph
from tflsplit.graph.flatgraph import Graph, Tensor
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import Array, decibels, dequantise
from tflsplit.losses import twin
from tflsplit.values.classes import dataclass

# Signal to error in dB from which a tensor tracks another: where the names agree, what operators of trained int8 models
# keep; where they do not, twice that, since one of many tensors may track by chance.
_TRACKS_DB = 10.0
_TRACKS_UNNAMED_DB = 20.0
# An untrained network shrinks its signal below what int8 resolves; then one rounding of an operator and one of its
# input may differ, and nothing else.
_RESOLUTION_STEPS = 2.0


@dataclass(frozen=True, slots=True)
class Counterpart:
    """`tensor` of the float file, None with the `reason`; `sqnr_db` is how closely it is tracked."""

    tensor: int | None
    sqnr_db: float
    reason: str = ""


def find(integer: bytes, floating: bytes, samples: Sequence[Array], *, limit: int = 2) -> Mapping[int, Counterpart]:
    """The counterpart of every computed tensor and every input of `integer`, judged on the first samples."""
    stored, real = flatgraph.read(integer), flatgraph.read(floating)
    few = [array[:limit] for array in samples]
    with quiet.silenced(), Interpreter(floating, keeps_intermediates=True) as wide:
        try:
            by_twin = _found(stored, real, twin.of_model(stored), wide, few)
        except (errors.ModelError, errors.DeviceError):  # an operator that computes in integers only
            by_twin = {}
        if by_twin and all(found.tensor is not None for found in by_twin.values()):
            return by_twin
        by_itself = _found(stored, real, integer, wide, few)
    tracked = {index: found for index, found in by_twin.items() if found.tensor is not None}
    return by_itself | tracked


def _found(
    stored: Graph, real: Graph, narrow_model: bytes, wide: Interpreter, samples: Sequence[Array]
) -> dict[int, Counterpart]:
    """`narrow_model` is the file of `stored`, or another with its tensors in their places."""
    comparison = _Comparison(stored, real)
    with Interpreter(narrow_model, keeps_intermediates=True) as narrow:
        specs = stored.specs(stored.inputs)
        for inputs in stored_samples(samples, specs):
            exact = [dequantise(array, spec) for array, spec in zip(inputs, specs, strict=True)]
            for opened in (narrow, wide):
                opened.run(
                    *(
                        array if array.dtype == spec.dtype else values.astype(spec.dtype)
                        for array, values, spec in zip(inputs, exact, opened.inputs, strict=True)
                    )
                )
            comparison.add(narrow, wide)
    found: dict[int, Counterpart] = {}
    for tensor in _activations(stored):
        found[tensor.index] = comparison.choose(tensor, found)
    return found


def _activations(graph: Graph) -> Iterator[Tensor]:
    """Inputs and computed tensors, in the order in which they are computed."""
    for index in (*graph.inputs, *(index for operator in graph.operators for index in operator.outputs)):
        if graph.tensors[index].spec is not None:
            yield graph.tensors[index]


@dataclass(slots=True)
class _Sums:
    """Of a float tensor, over samples."""

    power: float = 0.0
    total: float = 0.0
    count: int = 0

    def add(self, values: Array) -> None:
        self.power += float(np.square(values, dtype=np.float64).sum())
        self.total += float(values.sum(dtype=np.float64))
        self.count += values.size


@dataclass(slots=True)
class _Pair:
    """What a tensor has in common with a float one of its shape, summed over samples; `steps` only if their names are
    the same, which alone asks for them."""

    expected: _Sums
    is_named: bool
    error: float = 0.0
    steps: float = 0.0

    def add(self, found: Array, expected: Array, scale: float) -> None:
        difference = found.ravel() - expected.ravel()
        self.error += float(difference @ difference)
        if self.is_named:
            most = float(np.abs(difference).max(initial=0.0))
            self.steps = max(self.steps, most / scale if scale else math.inf * most if most else 0.0)

    @property
    def sqnr_db(self) -> float:
        return decibels(self.expected.power, self.error)

    @property
    def varying_sqnr_db(self) -> float:
        """Against what varies only: two tensors that hardly vary may agree in level by chance."""
        sums = self.expected
        return decibels(sums.power - sums.total**2 / max(sums.count, 1), self.error)


class _Comparison:
    def __init__(self, stored: Graph, real: Graph) -> None:
        self._stored = stored
        self._real = real
        self._makers = [_makers(stored), _makers(real)]
        self._shapes: dict[tuple[int, ...], tuple[list[Tensor], list[Tensor]]] = {}
        for place, graph in enumerate((stored, real)):
            for tensor in _activations(graph):
                self._shapes.setdefault(tensor.shape, ([], []))[place].append(tensor)
        self._sums = {tensor.index: _Sums() for tensor in _activations(real)}
        self._pairs = {
            tensor.index: {
                other.index: _Pair(self._sums[other.index], other.name == tensor.name)
                for other in others
                if _may_correspond(tensor, other)
            }
            for tensors, others in self._shapes.values()
            for tensor in tensors
        }

    def add(self, narrow: Interpreter, wide: Interpreter) -> None:
        """One sample, which both interpreters have just run; tensors of one shape at a time take memory enough."""
        for tensors, others in self._shapes.values():
            wanted = {index for tensor in tensors for index in self._pairs[tensor.index]}
            expected = {other.index: _value(self._real, wide, other.index) for other in others if other.index in wanted}
            for index, values in expected.items():
                self._sums[index].add(values)
            for tensor in tensors if wanted else ():
                found, scale = _value(self._stored, narrow, tensor.index), tensor.spec.scale if tensor.spec else 0.0
                for index, pair in self._pairs[tensor.index].items():
                    pair.add(found, expected[index], scale)

    def choose(self, tensor: Tensor, before: Mapping[int, Counterpart]) -> Counterpart:
        """`before` are the counterparts of the tensors that are computed earlier."""
        pairs = self._pairs[tensor.index]
        if not pairs:
            return Counterpart(None, -math.inf, "the float model has no tensor of its shape")
        named = [other for other, pair in pairs.items() if pair.is_named]
        confirmed = [
            other for other in named if pairs[other].sqnr_db >= _TRACKS_DB or pairs[other].steps <= _RESOLUTION_STEPS
        ]
        alike = [other for other in self._made_alike(tensor, pairs, before) if _is_beyond_chance(pairs[other])]
        chosen = max(confirmed or alike, key=lambda other: pairs[other].varying_sqnr_db, default=None)
        if chosen is not None:
            return Counterpart(chosen, pairs[chosen].sqnr_db)
        best = max(named or pairs, key=lambda other: pairs[other].sqnr_db)
        return Counterpart(
            None,
            pairs[best].sqnr_db,
            f"no tensor of the float model is tracked by it; {self._real.tensors[best].name!r} comes nearest, with "
            f"{pairs[best].sqnr_db:.1f} dB",
        )

    def _made_alike(self, tensor: Tensor, pairs: Mapping[int, _Pair], before: Mapping[int, Counterpart]) -> list[int]:
        """Candidates made by an operator of the same kind; a requantised tensor has the counterpart of its source."""
        maker = self._makers[0].get(tensor.index)
        if maker is not None and maker.name == "QUANTIZE":
            source = before.get(maker.inputs[0])
            return [other for other in pairs if source is not None and source.tensor == other]
        kind = maker.name if maker else None
        return [other for other in pairs if (made.name if (made := self._makers[1].get(other)) else None) == kind]


def _value(graph: Graph, interpreter: Interpreter, index: int) -> Array:
    """In real values, as a float twin has them already."""
    (spec,) = graph.specs((index,))
    held = interpreter.tensor(index)
    return dequantise(held, spec) if held.dtype == spec.dtype else held


def _makers(graph: Graph) -> dict[int, flatgraph.Operator]:
    return {index: operator for operator in graph.operators for index in operator.outputs}


def _may_correspond(tensor: Tensor, other: Tensor) -> bool:
    """A quantised tensor may stand for a float one, any other only for one of its own type."""
    if tensor.spec is None or other.spec is None:
        return False
    return other.spec.dtype == ("float32" if tensor.spec.is_quantised else tensor.spec.dtype)


def _is_beyond_chance(pair: _Pair) -> bool:
    return pair.error == 0.0 or pair.varying_sqnr_db >= _TRACKS_UNNAMED_DB
