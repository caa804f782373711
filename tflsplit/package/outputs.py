"""A model's outputs for people: labels where they are shares or scores of classes, what was found in a picture where
they are decoded, and the plain values."""

from collections.abc import Sequence

import numpy as np

from tflsplit.decoding.forms import Task
from tflsplit.decoding.found import Found
from tflsplit.graph import meanings
from tflsplit.graph.meanings import Meaning
from tflsplit.graph.tensors import Array, TensorSpec, dequantise
from tflsplit.inputs import resizing
from tflsplit.inputs.resizing import WHOLE
from tflsplit.package.manifest import Manifest
from tflsplit.values.classes import dataclass

# More values than this in one result are of no use to a person; the raw tensor is sent on request.
MOST_VALUES = 64

Scored = tuple[tuple[str, float], ...]


@dataclass(slots=True)
class Outputs:
    """`label` and `score` belong to the best class of the first output that has classes; None where there is none, and
    where none of several independent labels holds.

    `top` are the best classes as (label, score), best first; of independent labels all that hold. `values` are the real
    values of each output that is small enough to be read, by its name. `found` is what a decoded model found; its
    labels are in `top` too, each with its best score.
    """

    label: str | None
    score: float | None
    top: Scored
    values: tuple[tuple[str, tuple[float, ...]], ...]
    found: Found | None = None


def told(described: Manifest) -> tuple[Meaning, ...]:
    """What each output of a package is; where the manifest does not say it, a row holds scores of classes."""
    return described.meanings or _assumed(described.outputs)


def _assumed(specs: Sequence[TensorSpec]) -> tuple[Meaning, ...]:
    return tuple(Meaning.LOGITS if meanings.is_row(spec.shape) else Meaning.VALUES for spec in specs)


def of(
    described: Manifest,
    stored: Sequence[Array],
    specs: Sequence[TensorSpec] | None = None,
    *,
    count: int = 3,
    source: tuple[int, int] | None = None,
) -> Outputs:
    """What the outputs of a package mean: its tails' (`Manifest.results`), or those that `specs` describe.

    `source` is width and height of the picture that the input was made of, None where its pixels were the input's.
    """
    specs = described.results if specs is None else specs
    plain = read(specs, stored, described.labels, described.meanings, count=count)
    if described.decoding is None:
        return plain
    from tflsplit.decoding import decoder  # a classifier starts without

    _, height, width, _ = described.inputs[0].shape
    resize = described.preprocessing.resize if described.preprocessing else resizing.Resize.STRETCH
    placement = WHOLE if source is None else resizing.placed(source, (width, height), resize)
    real = [dequantise(each, spec) for each, spec in zip(stored, specs, strict=True)]
    found = decoder.decode(described.decoding, real, (height, width), described.labels, placement)
    best: dict[str, float] = {}
    for each in found.objects or ():
        best.setdefault(each.label, each.score)
    top = tuple(best.items())[:count]
    label, score = top[0] if top else (None, None)
    return Outputs(label, score, top, plain.values, found)


def segments(described: Manifest) -> bool:
    """Whether it gives a class for each place of a picture."""
    return described.decoding is not None and described.decoding.task is Task.SEGMENT


def needs_sizes(described: Manifest) -> bool:
    """Whether places in the source's picture can be told only by who knows its size."""
    told = described.preprocessing
    return described.decoding is not None and told is not None and told.resize is not resizing.Resize.STRETCH


def read(
    specs: Sequence[TensorSpec],
    outputs: Sequence[Array],
    labels: Sequence[str],
    means: Sequence[Meaning] = (),
    *,
    count: int = 3,
) -> Outputs:
    """What stored `outputs` mean, each of which is what it `means`. A class without a label is named by its number."""
    found: Scored | None = None
    values = []
    for spec, stored, meaning in zip(specs, outputs, means or _assumed(specs), strict=True):
        is_answer, is_short = meaning is not Meaning.VALUES and found is None, spec.elements <= MOST_VALUES
        if is_answer or is_short:
            real = dequantise(stored, spec).reshape(-1)
        if is_answer:
            found = _best(stored.reshape(-1), real, labels, meaning, count)
        if is_short:
            values.append((spec.name, tuple(real.tolist())))
    top = found or ()
    label, score = top[0] if top else (None, None)
    return Outputs(label, score, top, tuple(values))


def without_score(described: Manifest) -> str | None:
    """Why no one class with a probability is this model's answer; None where one is."""
    if len(described.outputs) != 1:
        return f"it has {len(described.outputs)} outputs, none of which alone is the answer"
    if not described.meanings:
        return "its package does not say what its output means; convert the model again"
    if described.meanings[0] is Meaning.MULTI_LABEL:
        return "its labels are independent of each other, so none of them alone is the answer"
    if not described.meanings[0].is_of_one_class:
        return "its output is plain numbers, and no scores of classes"
    return None


def sureness(described: Manifest, stored: Sequence[Array]) -> float:
    """The probability of the best class, by the model's stored outputs; for models that are not `without_score`."""
    (spec,), (meaning,) = described.outputs, described.meanings
    real = dequantise(stored[0].reshape(-1), spec).astype(np.float64)
    if meaning is Meaning.SIGMOID:
        return float(max(real[0], 1.0 - real[0]))
    if meaning is Meaning.LOGITS:
        real = np.exp(real - real.max())
        real /= real.sum()
    return float(real.max())


def _best(row: Array, real: Array, labels: Sequence[str], meaning: Meaning, count: int) -> Scored:
    if meaning is Meaning.SIGMOID:
        share = float(real[0])
        both = ((_label(labels, 1), share), (_label(labels, 0), 1.0 - share))
        return both if share >= meanings.IS_THERE else both[::-1]
    most = MOST_VALUES if meaning is Meaning.MULTI_LABEL else count
    # A stable sort: of equal scores the lower class comes first, on every machine.
    order = (-row if row.dtype.kind == "f" else ~row).argsort(kind="stable")[:most]
    scores = [(_label(labels, index), float(real[index])) for index in order.tolist()]
    if meaning is Meaning.MULTI_LABEL:
        return tuple(each for each in scores if each[1] >= meanings.IS_THERE)
    return tuple(scores)


def _label(labels: Sequence[str], index: int) -> str:
    return labels[index] if index < len(labels) else str(index)
