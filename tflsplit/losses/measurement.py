"""How far each operator of an int8 model is from float: in the run, and by itself.

`run_db` is what the operator's result has lost when the int8 model runs from its input on: all errors before it are in
it. `alone_db` is what the operator adds: it alone runs in int8, on float inputs that are rounded to the int8 scales.
Both count against what varies in the float result, since a level that is always the same says nothing.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from tflsplit.graph import flatgraph
from tflsplit.graph.flatgraph import Graph, Operator
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import Array, TensorSpec, decibels, dequantise, quantise
from tflsplit.losses import columns
from tflsplit.losses.columns import Group
from tflsplit.values.classes import dataclass, field

_MOST_BYTES = 256 << 20  # of float tensors that are kept at once
_MOST_DB = 300.0  # JSON has no infinity; float32 cannot differ by less
_FLOATS = frozenset({"float32", "float16", "float64"})

Sample = tuple[Array, ...]


@dataclass(frozen=True, slots=True)
class OperatorLoss:
    """Decibels are None where nothing varies on the samples, or with the `reason` why nothing could be measured.
    `groups` are columns of the result that differ in size, where one loses much more than the whole shows."""

    index: int
    name: str
    tensor: str
    alone_db: float | None = None
    run_db: float | None = None
    groups: tuple[Group, ...] = ()
    reason: str = ""

    @property
    def least_db(self) -> float:
        """What operators are ordered by: what it adds by itself, to the columns that lose most."""
        known = [each for each in (self.alone_db, *(group.sqnr_db for group in self.groups)) if each is not None]
        return min(known, default=math.inf)


@dataclass(frozen=True, slots=True)
class Measured:
    """`operators` in the model's order. `kept_db` is what the scale of each tensor keeps of its float values."""

    operators: tuple[OperatorLoss, ...]
    kept_db: Mapping[int, float]


@dataclass(slots=True)
class Tally:
    """Energies of an error and of what it is an error of, summed over samples; sums of columns too where wanted."""

    error: float = 0.0
    power: float = 0.0
    total: float = 0.0
    count: int = 0
    axes: columns.Tallies | None = None

    def add(self, expected: Array, found: Array) -> None:
        wide = expected.astype(np.float64)
        self.error += float(np.square(wide - found).sum())
        self.power += float(np.square(wide).sum())
        self.total += float(wide.sum())
        self.count += wide.size
        if self.axes is not None:
            self.axes.add(wide, found)

    @property
    def sqnr_db(self) -> float | None:
        return varying_db(self.error, self.power, self.total, self.count)


def varying_db(error: float, power: float, total: float, count: int) -> float | None:
    """Decibels of what varies to the error; None where nothing varies but what float32 rounds."""
    varying = power - total**2 / max(count, 1)
    if varying <= 1e-12 * power:
        return None
    return round(max(-_MOST_DB, min(_MOST_DB, decibels(varying, error))), 2)


@dataclass(slots=True)
class _Sums:
    alone: Tally = field(default_factory=Tally)
    run: Tally = field(default_factory=Tally)


@dataclass(frozen=True, slots=True)
class _Both:
    """The two models; `counterparts` lead from the tensors of `graph`, which is `model`, to those of `floating`."""

    model: bytes
    floating: bytes
    graph: Graph
    counterparts: Mapping[int, int]


def measure(
    model: bytes,
    floating: bytes,
    counterparts: Mapping[int, int],
    samples: Sequence[Sample],
    *,
    on_operator: Callable[[str], None] = lambda name: None,
) -> Measured:
    """Compare the int8 `model` with a float one on `samples`, which are inputs as the model stores them.

    `counterparts` tells for a tensor of the int8 file which tensor of the float file it stands for. `on_operator` hears
    what is run next. DeviceError where one of the models cannot run.
    """
    graph = flatgraph.read(model)
    ending = columns.at_the_end(graph)
    sums = {operator.index: _Sums() for operator in graph.operators}
    for index in ending:
        sums[index].alone.axes = columns.Tallies()
    kept = {index: Tally() for index in counterparts}
    for few in _batches(graph, counterparts, samples):
        on_operator("the whole model")
        real = _run(_Both(model, floating, graph, counterparts), few, sums)
        for index, values in real.items():
            _add_kept(kept[index], values, graph.tensors[index].spec)
        for operator in graph.operators:
            if _runs_alone(graph, operator, counterparts):
                on_operator(f"op{operator.index:03d}")
                _run_alone(graph, operator, real, len(few), sums[operator.index].alone)
    told = tuple(_told(graph, operator, sums[operator.index], counterparts) for operator in graph.operators)
    found = {index: tally.sqnr_db for index, tally in kept.items()}
    return Measured(told, {index: value for index, value in found.items() if value is not None})


def _batches(graph: Graph, counterparts: Mapping[int, int], samples: Sequence[Sample]) -> Iterator[Sequence[Sample]]:
    """As many samples at once as there is room for their float tensors."""
    each = sum(4 * math.prod(graph.tensors[index].shape) for index in counterparts)
    step = max(1, _MOST_BYTES // max(each, 1))
    for start in range(0, len(samples), step):
        yield samples[start : start + step]


def _run(both: _Both, samples: Sequence[Sample], sums: Mapping[int, _Sums]) -> Mapping[int, list[Array]]:
    """The float values of each tensor in each sample; adds what the int8 run made of them to `sums`."""
    graph, counterparts = both.graph, both.counterparts
    real: dict[int, list[Array]] = {index: [] for index in counterparts}
    with (
        Interpreter(both.model, keeps_intermediates=True) as narrow,
        Interpreter(both.floating, keeps_intermediates=True, name="its float model") as wide,
    ):
        for sample in samples:
            narrow.run(*sample)
            exact = [dequantise(*pair) for pair in zip(sample, narrow.inputs, strict=True)]
            wide.run(*(array.astype(spec.dtype) for array, spec in zip(exact, wide.inputs, strict=True)))
            for index, other in counterparts.items():
                real[index].append(wide.tensor(other).reshape(graph.tensors[index].shape))
            for operator in graph.operators:
                for index in _judged(graph, operator, counterparts):
                    (spec,) = graph.specs((index,))
                    sums[operator.index].run.add(real[index][-1], dequantise(narrow.tensor(index), spec))
    return real


def _add_kept(tally: Tally, values: Sequence[Array], spec: TensorSpec | None) -> None:
    for array in values if spec is not None else ():
        assert spec is not None  # noqa: S101 - for the type checker
        tally.add(array, dequantise(quantise(array, spec), spec))


def _judged(graph: Graph, operator: Operator, counterparts: Mapping[int, int]) -> list[int]:
    """The results of an operator that stand for real values."""
    specs = {index: graph.tensors[index].spec for index in operator.outputs if index in counterparts}
    return [index for index, spec in specs.items() if spec is not None and (spec.is_quantised or spec.dtype in _FLOATS)]


def _computed(graph: Graph, operator: Operator) -> list[int]:
    """The inputs of an operator that are no constants, each once."""
    return [
        index
        for index in dict.fromkeys(operator.inputs)
        if index >= 0 and not graph.tensors[index].is_constant and not graph.tensors[index].is_variable
    ]


def _runs_alone(graph: Graph, operator: Operator, counterparts: Mapping[int, int]) -> bool:
    needed = _computed(graph, operator)
    return (
        bool(needed) and all(index in counterparts for index in needed) and bool(_judged(graph, operator, counterparts))
    )


def _run_alone(graph: Graph, operator: Operator, real: Mapping[int, list[Array]], count: int, tally: Tally) -> None:
    inputs = _computed(graph, operator)
    outputs = [index for index in operator.outputs if index in real]
    single = flatgraph.extract(graph, operator.index, operator.index + 1, inputs, outputs)
    with Interpreter(single, name=f"operator {operator.index} ({operator.name})") as opened:
        for turn in range(count):
            given = (quantise(real[index][turn], spec) for index, spec in zip(inputs, opened.inputs, strict=True))
            for index, array, spec in zip(outputs, opened.run(*given), opened.outputs, strict=True):
                tally.add(real[index][turn], dequantise(array, spec))


def _told(graph: Graph, operator: Operator, sums: _Sums, counterparts: Mapping[int, int]) -> OperatorLoss:
    tensor = graph.tensors[operator.outputs[0]].name if operator.outputs else ""
    if not _judged(graph, operator, counterparts):
        numbers = [index for index in operator.outputs if index in counterparts]
        reason = (
            "its result is no real number" if numbers else "the float model has no tensor that its result stands for"
        )
        return OperatorLoss(operator.index, operator.name, tensor, reason=reason)
    has_alone = sums.alone.count > 0
    groups = columns.hidden(sums.alone.axes, sums.alone.sqnr_db) if sums.alone.axes and has_alone else ()
    return OperatorLoss(
        operator.index,
        operator.name,
        tensor,
        alone_db=sums.alone.sqnr_db if has_alone else None,
        run_db=sums.run.sqnr_db,
        groups=groups,
        reason="" if has_alone else "the float model has not all of its inputs",
    )
