"""What each operator of a head computes by itself, of a fixed pattern: the fingerprint of a model's weights.

Rounding adds up from operator to operator, so that behind many of them a right model may be off by as much as one with
a wrong weight. One operator alone is off by a step, whatever the kernels; with a wrong weight it is off by many.
"""

import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from tflsplit import errors
from tflsplit.graph import excerpt, flatgraph
from tflsplit.graph.interpreter import Interpreter, Kernels
from tflsplit.graph.tensors import Array, TensorSpec
from tflsplit.kernels import probe
from tflsplit.values.classes import dataclass

_MOST_BYTES = 192 << 10  # of one head, of all operators
_LEAST, _MOST = 256, 4096  # elements of one operator's result, whole rows of them
# The pattern is tried as it is and in shares of its range around zero: a sum that saturates shows no weight.
_SHARES = (1.0, 1 / 8, 1 / 2, 1 / 32)
# What a pattern can be made of; whole numbers of more bits are places and shapes, and not any will do.
_PATTERNED = frozenset({"int8", "uint8", "float32"})
_RESULTS = _PATTERNED | {"int16", "int32", "int64", "bool"}

# The rows of an operator, None where it cannot be run. Quoted: `Array` is a text itself.
Rows: TypeAlias = "Array | None"
Run = Callable[[tuple[Array, ...]], tuple[Array, ...]]


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator with one result that can run by itself: `inputs` and `output` are tensors of the head. Kept are
    `rows` rows of the result of each pattern, of its last axis, evenly spread."""

    index: int
    name: str
    inputs: tuple[int, ...]
    output: int
    dtype: str
    rows: int
    columns: int

    @property
    def bytes(self) -> int:
        return len(_SHARES) * self.rows * self.columns * np.dtype(self.dtype).itemsize

    def __str__(self) -> str:
        return f"op{self.index:03d} ({self.name})"


def plan(model: bytes) -> tuple[Operator, ...]:
    """Those operators of a head that can be run alone."""
    graph = flatgraph.read(model)
    computed = {tensor for operator in graph.operators for tensor in operator.outputs} | {*graph.inputs}
    told = []
    for operator in graph.operators:
        inputs = tuple(dict.fromkeys(index for index in operator.inputs if index in computed))
        specs = [graph.tensors[index].spec for index in (*inputs, *operator.outputs)]
        kinds = [None if spec is None or not spec.elements else spec.dtype for spec in specs]
        if len(operator.outputs) == 1 and inputs and _PATTERNED.issuperset(kinds[:-1]) and kinds[-1] in _RESULTS:
            told.append((operator, inputs))
    most = min(_MOST, max(_LEAST, _MOST_BYTES // max(len(told), 1)))
    found = []
    for operator, inputs in told:
        (spec,) = graph.specs(operator.outputs)
        columns = spec.shape[-1] if len(spec.shape) > 1 else 1
        rows = min(spec.elements // columns, max(1, most // (len(_SHARES) * columns)))
        output = operator.outputs[0]
        found.append(Operator(operator.index, operator.name, inputs, output, spec.dtype, rows, columns))
    return tuple(found)


def run(model: bytes, planned: Sequence[Operator], kernels: Kernels = Kernels.SERVING) -> Iterator[Rows]:
    """The kept rows of each operator as it computes here; None for one that cannot run."""
    for operator in planned:
        single = excerpt.operator(model, operator.index, operator.inputs, (operator.output,))
        try:
            with Interpreter(single, name=str(operator), kernels=kernels) as opened:
                yield _rows(opened, operator)
        except errors.DeviceError:
            yield None


def _rows(opened: Interpreter, operator: Operator) -> Rows:
    found = []
    for turn, share in enumerate(_SHARES):
        (made,) = opened.run(*(_pattern(spec, place + turn, share) for place, spec in enumerate(opened.inputs)))
        flat = made.reshape(-1, operator.columns)
        if flat.dtype.name != operator.dtype or len(flat) < operator.rows:
            return None  # of another model
        found.append(flat[np.linspace(0, len(flat) - 1, operator.rows).astype(np.int64)])
    return np.concatenate(found)


def _pattern(spec: TensorSpec, seed: int, share: float) -> Array:
    pattern = probe.pattern(spec, seed)
    if spec.dtype == "float32":
        lowered: Array = pattern * np.float32(share)
        return lowered
    limits = np.iinfo(spec.dtype)
    middle = (limits.max + limits.min + 1) // 2
    centre = middle if share == 1 else spec.zero_point
    steps = np.rint((pattern.astype(np.float64) - middle) * share) + centre
    narrowed: Array = np.clip(steps, limits.min, limits.max).astype(spec.dtype)
    return narrowed


def packed(planned: Sequence[Operator], versions: Sequence[Sequence[Rows]]) -> tuple[Array, Array]:
    """The rows of all versions, and which of them there are: where kernels differ little, little is stored."""
    there = np.array([[rows is not None for rows in version] for version in versions], np.uint8)
    flat = [
        np.concatenate(
            [
                np.zeros(operator.bytes, np.uint8) if rows is None else np.frombuffer(rows.tobytes(), np.uint8)
                for operator, rows in zip(planned, version, strict=True)
            ]
            or [np.zeros(0, np.uint8)]
        )
        for version in versions
    ]
    told = np.concatenate([flat[0], *(each ^ flat[0] for each in flat[1:])])
    return np.frombuffer(zlib.compress(told.tobytes(), 9), np.uint8), there


def unpacked(stored: Array, there: Array, planned: Sequence[Operator]) -> tuple[tuple[Rows, ...], ...]:
    """The rows of each version. ValueError for anything but what `packed` gives."""
    if there.ndim != 2 or there.dtype != np.dtype(np.uint8) or there.shape[1] != len(planned) or len(there) > _VERSIONS:
        raise ValueError(f"versions of {there.dtype} {there.shape} for {len(planned)} operators")
    size = sum(operator.bytes for operator in planned)
    unpacking = zlib.decompressobj()
    try:
        data = unpacking.decompress(stored.tobytes(), len(there) * size + 1)
    except zlib.error as cause:
        raise ValueError(f"rows that cannot be unpacked: {cause}") from cause
    if len(data) != len(there) * size:
        raise ValueError(f"{len(data)} bytes of rows or more, expected {len(there) * size}")
    told = np.frombuffer(data, np.uint8).reshape(len(there), size)
    return tuple(
        tuple(_split(each if place == 0 else each ^ told[0], has, planned))
        for place, (each, has) in enumerate(zip(told, there, strict=True))
    )


_VERSIONS = 4


def _split(data: Array, there: Array, planned: Sequence[Operator]) -> Iterator[Rows]:
    start = 0
    for operator, is_there in zip(planned, there, strict=True):
        rows = np.ascontiguousarray(data[start : start + operator.bytes])
        start += operator.bytes
        yield rows.view(operator.dtype).reshape(-1, operator.columns) if is_there else None


def as_json(planned: Sequence[Operator]) -> bytes:
    fields = [
        [each.index, each.name, list(each.inputs), each.output, each.dtype, each.rows, each.columns] for each in planned
    ]
    return json.dumps(fields).encode()


def from_json(fields: Any) -> tuple[Operator, ...]:
    """ValueError for anything but what `as_json` gives."""
    try:
        found = tuple(_operator(*each) for each in fields)
    except TypeError as cause:
        raise ValueError(f"no list of operators: {cause}") from cause
    if any(min(each.index, each.rows - 1, each.columns - 1) < 0 or each.dtype not in _RESULTS for each in found):
        raise ValueError("operators with impossible results")
    return found


def _operator(*fields: Any) -> Operator:
    index, name, inputs, output, dtype, rows, columns = fields
    places = tuple(int(each) for each in inputs)
    return Operator(int(index), str(name), places, int(output), str(dtype), int(rows), int(columns))
