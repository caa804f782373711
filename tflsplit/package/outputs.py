"""A model's outputs for people: the best labels where they are class scores, else the plain values."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tflsplit.graph.tensors import Array, TensorSpec, dequantise

# More values than this in one result are of no use to a person; the raw tensor is sent on request.
MOST_VALUES = 64


@dataclass(frozen=True, slots=True)
class Outputs:
    """`label` and `score` belong to the best class of the first output with a class axis; None where there is none.

    `top` are the best classes as (label, score), best first. `values` are the real values of each output that is
    small enough to be read, by its name.
    """

    label: str | None
    score: float | None
    top: tuple[tuple[str, float], ...]
    values: tuple[tuple[str, tuple[float, ...]], ...]


def has_class_axis(spec: TensorSpec) -> bool:
    """Whether an output is one row of class scores: (1, classes) with more than one class."""
    return is_of_classes(spec.shape)


def is_of_classes(shape: Sequence[int]) -> bool:
    return len(shape) == 2 and shape[0] == 1 and shape[1] > 1


def read(specs: Sequence[TensorSpec], outputs: Sequence[Array], labels: Sequence[str], *, count: int = 3) -> Outputs:
    """What stored `outputs` mean. A class without a label is named by its number."""
    top: tuple[tuple[str, float], ...] = ()
    values = []
    for spec, stored in zip(specs, outputs, strict=True):
        if has_class_axis(spec) and not top:
            top = _best(spec, stored, labels, count)
        if spec.elements <= MOST_VALUES:
            real = dequantise(stored, spec).reshape(-1)
            values.append((spec.name, tuple(float(value) for value in real)))
    label, score = top[0] if top else (None, None)
    return Outputs(label, score, top, tuple(values))


def _best(spec: TensorSpec, stored: Array, labels: Sequence[str], count: int) -> tuple[tuple[str, float], ...]:
    row = stored.reshape(-1)
    # A stable sort: of equal scores the lower class comes first, on every machine.
    order = np.argsort(-row.astype(np.float64), kind="stable")[:count]
    scores = dequantise(row[order], spec)
    return tuple(
        (labels[index] if index < len(labels) else str(index), float(score))
        for index, score in zip(order.tolist(), scores, strict=True)
    )
