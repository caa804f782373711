"""Which Keras layer each operator of the int8 file ends, confirmed by running both.

TFLite fuses layers, drops some and renames all, so a tensor's name only proposes a layer. A layer is named for an
operator when the operator's dequantised output tracks that layer's float output on samples; otherwise the operator has
no layer.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from converters.loading import quiet, scopes
from converters.loading.model import LoadedModel, samples_of, stored_samples
from converters.loading.tracing import Tap
from tflsplit.graph import flatgraph
from tflsplit.graph.flatgraph import Graph, Operator
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import Array, dequantise
from tflsplit.values.classes import dataclass

# Signal to error, in dB, above which a tensor is taken to track a layer. Operators of trained int8 models were seen at
# 13 to 48 dB from the layer they end, and below 10 dB from all others but those within their own fusion (batch
# normalisation against its ReLU: up to 12.6), where the better one wins.
_TRACKS_DB = 10.0
# Where the name proposes no layer or another one, one of many layers may track by chance.
_TRACKS_UNNAMED_DB = 20.0
# Layers this close to the best are not told apart by 8 bits: an untrained batch normalisation multiplies by 0.9995.
_INDISTINCT_DB = 1.0
_REPEATED_DB = 6.0  # one more rounding of the same size costs 3 dB, one of twice the size 7
# A layer may lie below the resolution of its tensor (untrained networks shrink their signal to nothing). Then agreement
# to within the rounding of an operator and of its input, one step each, is enough, and the name decides.
_RESOLUTION_STEPS = 2.0
_AT_ONCE = 1 << 16  # values of each tensor that are compared at once: some hundred tensors then take 50 MB


@dataclass(frozen=True, slots=True)
class OperatorLayer:
    """`aliases` are layers with the same output (dropout, a reshape); `sqnr_db` is how closely the layer is tracked."""

    operator: int
    layer: str | None
    aliases: tuple[str, ...]
    sqnr_db: float


@dataclass(frozen=True, slots=True)
class LayerMap:
    """One entry for each operator, in order. `fused` maps layers without a tensor of their own to the operator they end
    in."""

    operators: tuple[OperatorLayer, ...]
    fused: dict[str, int]


def map_layers(model: LoadedModel, tflite: bytes, samples: Sequence[Array], *, limit: int = 2) -> LayerMap:
    """Compare every operator of `tflite`, quantised from `model`, with the model's layers on the first samples."""
    graph = flatgraph.read(tflite)
    taps = model.layers
    proposed = _proposals(graph, taps, model.trace.output_operations)
    comparison = _Comparison(graph, len(taps), [_window(proposed, operator, len(taps)) for operator in proposed])
    with quiet.silenced(), Interpreter(tflite, keeps_intermediates=True) as interpreter:
        few = [array[:limit] for array in samples]
        for sample, stored in zip(samples_of(few), stored_samples(few, interpreter.inputs), strict=True):
            interpreter.run(*stored)
            comparison.add(model.trace.run_tapped(sample), interpreter)
    chosen = _without_lookalikes(
        [comparison.choose(entry.index, taps) for entry in graph.operators], comparison.sqnr_db
    )
    ended = {tap for tap in chosen if tap is not None}
    operators = tuple(
        OperatorLayer(operator, *_named(tap, ended, comparison, operator, taps)) for operator, tap in enumerate(chosen)
    )
    return LayerMap(operators, _fused(taps, proposed, chosen, operators))


def _without_lookalikes(chosen: Sequence[int | None], sqnr_db: Array) -> list[int | None]:
    """Reshapes and requantisations repeat a layer's output; a tanh of small values only resembles its argument."""
    best: dict[int, float] = defaultdict(lambda: -math.inf)
    for operator, tap in enumerate(chosen):
        if tap is not None:
            best[tap] = max(best[tap], float(sqnr_db[operator, tap]))
    return [
        None if tap is None or sqnr_db[operator, tap] < best[tap] - _REPEATED_DB else tap
        for operator, tap in enumerate(chosen)
    ]


def _named(
    tap: int | None, ended: set[int], comparison: "_Comparison", operator: int, taps: Sequence[Tap]
) -> tuple[str | None, tuple[str, ...], float]:
    """Layer, aliases and figure of one operator. A layer that another operator ends is no alias here."""
    if tap is None:
        return None, (), math.nan
    aliases = tuple(taps[other].layer for other in comparison.equal_to(tap) if other not in ended)
    return taps[tap].layer, aliases, round(float(comparison.sqnr_db[operator, tap]), 1)


def _proposals(graph: Graph, taps: Sequence[Tap], output_operations: Sequence[str]) -> list[set[int]]:
    """For each operator the layers (indices of taps) that its output's name mentions."""
    by_scope = {scopes.layer_scope(tap.operation): index for index, tap in enumerate(taps) if tap.computes}
    # In the file, outputs are called `Identity`.
    outputs = dict(zip(graph.outputs, output_operations, strict=False))
    proposals = []
    for operator in graph.operators:
        pieces = [piece for index in operator.outputs for piece in graph.tensors[index].name.split(";")]
        pieces += [outputs[index] for index in operator.outputs if index in outputs]
        proposals.append({index for piece in pieces if (index := _longest(piece, by_scope)) is not None})
    return proposals


def _longest(piece: str, by_scope: dict[str, int]) -> int | None:
    parts = piece.split("/")
    prefixes = ("/".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((by_scope[prefix] for prefix in prefixes if prefix in by_scope), None)


def _window(proposed: Sequence[set[int]], own: set[int], count: int) -> range:
    """From the last layer that the operator's name mentions to the next one that another operator's name mentions.

    A folded batch normalisation, which leaves no name, lies in between.
    """
    if not own:
        return range(0)
    others = {tap for taps in proposed if taps is not own for tap in taps}
    return range(max(own), min((tap for tap in others if tap > max(own)), default=count))


class _Comparison:
    """Error energies between all operators and all layers of equal size, summed over samples."""

    def __init__(self, graph: Graph, tap_count: int, windows: Sequence[range]) -> None:
        self._graph = graph
        self._windows = windows
        shape = (len(graph.operators), tap_count)
        self._error = np.zeros(shape)
        self._power, self._sum, self._count = np.zeros(tap_count), np.zeros(tap_count), np.zeros(tap_count)
        self._is_comparable = np.zeros(shape, bool)
        self._steps = np.full(shape, np.inf)
        self._same_shape = np.zeros(shape, bool)
        self._groups: dict[int, list[int]] = {}

    @property
    def sqnr_db(self) -> Array:
        """(operators, layers): the layer's power against the operator's error."""
        return self._decibels(self._power)

    def _varying_sqnr_db(self) -> Array:
        """The same against what varies in the layer only: two tensors that hardly vary may agree in level by chance."""
        return self._decibels(self._power - self._sum**2 / np.maximum(self._count, 1))

    def _decibels(self, signal: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            decibels = 10 * np.log10(signal[None] / np.maximum(self._error, 1e-30))
        return np.where(self._is_comparable & (signal[None] > 0), decibels, -np.inf)

    def add(self, layer_outputs: Sequence[Array], interpreter: Interpreter) -> None:
        """One sample: what the layers put out, and an interpreter that has just run the same."""
        operators = defaultdict(list)
        for operator in self._graph.operators:
            operators[math.prod(self._graph.tensors[operator.outputs[0]].shape)].append(operator)
        taps = defaultdict(list)
        for tap, output in enumerate(layer_outputs):
            taps[output.size].append(tap)
            self._power[tap] += float(np.square(output, dtype=np.float32).sum())
            self._sum[tap] += float(output.sum(dtype=np.float64))
            self._count[tap] += output.size
        self._find_equals(layer_outputs)
        for size in operators.keys() & taps.keys():
            real = {operator.index: self._real(operator, interpreter) for operator in operators[size]}
            known = {index: values for index, values in real.items() if values is not None}
            self._add_errors(known, taps[size], layer_outputs)
            self._add_steps(known, taps[size], layer_outputs)

    def _real(self, operator: Operator, interpreter: Interpreter) -> "Array | None":
        tensor = self._graph.tensors[operator.outputs[0]]
        return None if tensor.spec is None else dequantise(interpreter.tensor(tensor.index), tensor.spec)

    def _add_errors(self, real: Mapping[int, Array], taps: Sequence[int], layer_outputs: Sequence[Array]) -> None:
        """Of all operators and layers of one size, as |a|² + |b|² - 2ab: in a deep network they are tens of thousands
        of pairs, and their products are those of two matrices. In float64, of which enough is left."""
        places = np.ix_(list(real), taps)
        for start in range(0, layer_outputs[taps[0]].size if real else 0, _AT_ONCE):
            found, expected = (
                np.array([array.ravel()[start : start + _AT_ONCE] for array in arrays], np.float64)
                for arrays in (real.values(), (layer_outputs[tap] for tap in taps))
            )
            squares = np.square(found).sum(1)[:, None] + np.square(expected).sum(1)
            self._error[places] += squares - 2 * (found @ expected.T)
        self._is_comparable[places] = True

    def _add_steps(self, real: Mapping[int, Array], taps: Sequence[int], layer_outputs: Sequence[Array]) -> None:
        for operator, values in real.items():
            spec = self._graph.tensors[self._graph.operators[operator].outputs[0]].spec
            for tap in taps:
                self._same_shape[operator, tap] = _bare(values.shape) == _bare(layer_outputs[tap].shape)
                if tap in self._windows[operator] and spec is not None and spec.scale > 0:
                    steps = float(np.abs(values.ravel() - layer_outputs[tap].ravel()).max()) / spec.scale
                    before = self._steps[operator, tap]
                    self._steps[operator, tap] = steps if math.isinf(before) else max(before, steps)

    def _find_equals(self, layer_outputs: Sequence[Array]) -> None:
        if self._groups:
            return
        by_values = defaultdict(list)
        for tap, output in enumerate(layer_outputs):
            by_values[(output.size, output.dtype.str, hash(output.tobytes()))].append(tap)
        self._groups = {tap: group for group in by_values.values() for tap in group}

    def equal_to(self, tap: int) -> list[int]:
        """The layers that put out the same values as this one, itself included."""
        return self._groups[tap]

    def choose(self, operator: int, taps: Sequence[Tap]) -> int | None:
        """The layer that an operator ends, or None."""
        decibels = self.sqnr_db[operator]
        best = float(decibels.max(initial=-math.inf))
        window = self._windows[operator]
        near = {tap for tap in window if decibels[tap] >= max(_TRACKS_DB, best - _INDISTINCT_DB)}
        is_told_apart = best >= _TRACKS_DB and not near
        if not is_told_apart:
            near |= {tap for tap in window if self._steps[operator, tap] <= _RESOLUTION_STEPS}
        if not near:
            varying = self._varying_sqnr_db()[operator]
            if varying.max(initial=-math.inf) >= (_TRACKS_UNNAMED_DB if window else _TRACKS_DB):
                near = set(self.equal_to(int(varying.argmax())))
        if not near:
            return None
        last = max(near, key=lambda tap: (taps[tap].computes, tap))
        return max(
            self.equal_to(last), key=lambda tap: (bool(self._same_shape[operator, tap]), taps[tap].computes, tap)
        )


def _bare(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(extent for extent in shape if extent != 1)


def _fused(
    taps: Sequence[Tap],
    proposed: Sequence[set[int]],
    chosen: Sequence[int | None],
    operators: Sequence[OperatorLayer],
) -> dict[str, int]:
    """Layers that no operator ends: the operator whose name mentions them, else that of the next layer that has one."""
    ended = {name for entry in operators if entry.layer for name in (entry.layer, *entry.aliases)}
    mentioned = {tap: operator for operator, named in enumerate(proposed) for tap in named}
    operator_of = {tap: operator for operator, tap in reversed(list(enumerate(chosen))) if tap is not None}
    fused: dict[str, int] = {}
    following = len(operators) - 1
    for tap in reversed(range(len(taps))):
        following = operator_of.get(tap, following)
        if taps[tap].layer not in ended:
            fused[taps[tap].layer] = mentioned.get(tap, following)
    return fused
