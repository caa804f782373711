"""Which inputs tell kernels apart: some of each kind, and among many those where rounding decides most.

Whether one kernel rounds as another shows only in values that lie between two steps. Four inputs at random seldom have
one: of a classifier's outputs, one in fifty is different on Arm. So inputs are tried, and those are taken first whose
results another code of this machine rounds otherwise, or whose SOFTMAX comes nearest to a tie. The same model gives the
same inputs.
"""

from collections.abc import Sequence

import numpy as np

from tflsplit import errors
from tflsplit.graph import flatgraph, indices
from tflsplit.graph.flatgraph import Graph, Operator
from tflsplit.graph.interpreter import Interpreter, Kernels
from tflsplit.graph.tensors import Array, TensorSpec, dequantise

_REAL = 2
_TRIED = 12
_FEWEST_ROWS = 2  # that a table of ids has
_STEP = 1 / 256  # of SOFTMAX, in all types of 8 bits
_NEAR = 0.02  # of a step: 16-bit tables are off by so much

Sample = tuple[Array, ...]


def of_model(model: bytes, real: Sequence[Sample], count: int) -> Sequence[Sample]:
    """`count` inputs: real ones where there are, one of each kind of `made`, and of all others the most revealing."""
    with Interpreter(model, name="model") as opened:
        specs = opened.inputs
    candidates = made(specs, _TRIED, table_sizes=_table_sizes(model))
    first = [*real[:1], *candidates[: len(KINDS)], *real[1:_REAL]]
    rest = candidates[len(KINDS) :]
    order = np.argsort([-score for score in _scores(model, rest)], kind="stable")
    ranked = [rest[place] for place in order]
    # Where only a few have room: the real one, what is most revealing, then kind by kind.
    return [*first[:1], *ranked[:1], *first[1:], *ranked[1:]][:count]


def made(
    specs: Sequence[TensorSpec], count: int, *, seed: int = 0, table_sizes: Sequence[int | None] = ()
) -> list[Sample]:
    """Inputs as stored: uniform over the whole range, smooth as pictures and series are, saturated, around zero.
    Ids are within their table (`tflsplit.graph.indices`), or 0 and 1 where its size is not known."""
    source = np.random.default_rng(seed)
    rows = [size or _FEWEST_ROWS for size in table_sizes or (None,) * len(specs)]
    return [
        tuple(_made(source, spec, KINDS[at % len(KINDS)], size) for spec, size in zip(specs, rows, strict=True))
        for at in range(count)
    ]


KINDS = ("uniform", "smooth", "saturated", "around zero")


def _made(source: "np.random.Generator", spec: TensorSpec, kind: str, rows: int) -> Array:
    """Shares of the type's range, or of a table's rows; floats from -2 to 2."""
    if kind == "uniform":
        share = source.uniform(size=spec.shape)
    elif kind == "saturated":
        share = source.integers(0, 2, spec.shape).astype(np.float64)
    elif kind == "around zero":
        share = 0.5 + source.uniform(-0.04, 0.04, spec.shape)
    else:
        share = _smooth(source, spec.shape)
    if not np.issubdtype(np.dtype(spec.dtype), np.integer):
        return (4 * share - 2).astype(spec.dtype)
    if spec.dtype in ("int32", "int64") and not spec.is_quantised:
        return np.minimum(share * rows, rows - 1).astype(spec.dtype)
    limits = np.iinfo(spec.dtype)
    if kind == "around zero" and spec.is_quantised:
        share = share - 0.5 + (spec.zero_point - limits.min) / (float(limits.max) - limits.min)
    steps = np.floor(limits.min + share * (float(limits.max) - limits.min + 1))
    stored: Array = np.clip(steps, limits.min, limits.max).astype(spec.dtype)
    return stored


def _smooth(source: "np.random.Generator", shape: tuple[int, ...]) -> Array:
    drawn = np.zeros(shape)
    for axis, extent in enumerate(shape):
        phases = np.outer(np.arange(extent) / max(extent, 1), source.uniform(0, 12, 3)) + source.uniform(0, 6, 3)
        drawn += np.cos(phases).sum(1).reshape([-1 if each == axis else 1 for each in range(len(shape))])
    smooth: Array = (drawn - drawn.min(initial=0.0)) / max(float(np.ptp(drawn)) if drawn.size else 0.0, 1e-9)
    return np.clip(smooth, 0.0, 1.0)


def _table_sizes(model: bytes) -> Sequence[int | None]:
    try:
        return indices.table_sizes(flatgraph.read(model))
    except errors.DeviceError:  # tflite-runtime: nothing to read a model by
        return ()


def _scores(model: bytes, inputs: Sequence[Sample]) -> list[int]:
    """How many results of each input rounding decides."""
    try:
        graph = flatgraph.read(model)
    except errors.DeviceError:  # tflite-runtime: nothing to read a model by
        return [0] * len(inputs)
    softmaxes = [operator for operator in graph.operators if operator.name == "SOFTMAX"]
    if softmaxes:
        return _near_ties(graph, softmaxes[-1], inputs)
    with Interpreter(model) as one, Interpreter(model, kernels=Kernels.BUILTIN) as other:
        return [
            sum(
                int(np.count_nonzero(ours != theirs))
                for ours, theirs in zip(one.run(*each), other.run(*each), strict=True)
            )
            for each in inputs
        ]


def _near_ties(graph: Graph, softmax: Operator, inputs: Sequence[Sample]) -> list[int]:
    spec = graph.specs(softmax.inputs[:1])[0]
    before = flatgraph.extract(graph, 0, softmax.index, graph.inputs, softmax.inputs[:1])
    found = []
    with Interpreter(before) as opened:
        for each in inputs:
            logits = dequantise(opened.run(*each)[0], spec).astype(np.float64)
            exponents = np.exp(logits - logits.max(-1, keepdims=True))
            steps = exponents / exponents.sum(-1, keepdims=True) / _STEP
            found.append(int(np.count_nonzero(np.abs(steps % 1 - 0.5) < _NEAR)))
    return found
