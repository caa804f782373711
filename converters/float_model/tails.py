"""Float tails of a model that was just quantised: the float file, where each cut lies in it, and their fidelity."""

from collections.abc import Mapping, Sequence

from converters import quantize
from converters.float_model import fidelity, matching
from converters.float_model.matching import Counterpart
from converters.loading.model import LoadedModel
from tflsplit import errors
from tflsplit.graph import cuts, flatgraph, float_tail, meanings
from tflsplit.graph.cuts import Cut
from tflsplit.graph.flatgraph import Graph
from tflsplit.graph.tensors import Array
from tflsplit.package.manifest import FloatTails
from tflsplit.values.classes import dataclass

TAILS = ("int8", "float32")
# Each pair runs on this many samples at most: all samples would take minutes for a hundred pairs of a large model.
_MEASURED = 64


@dataclass(frozen=True, slots=True)
class Made:
    """The float model as a `.tflite`, and the float tails that can be cut from it."""

    data: bytes
    described: FloatTails


def make(model: LoadedModel, integer: bytes, found: Sequence[Cut], samples: Sequence[Array]) -> Made:
    """Convert `model` without quantisation and find every cut of `integer`, made from the same model, in it."""
    floating = quantize.unquantised(model, integer)
    graph = flatgraph.read(floating, name=str(model.path))
    matched = matching.find(integer, floating, samples)
    located: dict[str, tuple[int, ...]] = {}
    problems: dict[str, str] = {}
    for cut in found:
        try:
            located[cut.id] = _locate(graph, cut, matched)
        except errors.CutError as problem:
            problems[cut.id] = str(problem)
    return Made(floating, FloatTails(located, problems))


def _locate(graph: Graph, cut: Cut, matched: Mapping[int, Counterpart]) -> tuple[int, ...]:
    tensors = []
    for index, spec in zip(cut.tensors, cut.boundary, strict=True):
        counterpart = matched[index]
        if counterpart.tensor is None:
            raise errors.CutError(f"{spec.name!r} has no counterpart ({counterpart.reason})")
        tensors.append(counterpart.tensor)
    float_tail.remainder(graph, tensors)
    return tuple(tensors)


def measure(
    model: LoadedModel,
    integer: bytes,
    made: Made,
    chosen: Sequence[Cut],
    samples: Sequence[Array],
    *,
    has_labels: bool = False,
) -> Mapping[str, tuple[fidelity.Fidelity, ...]]:
    """For each of these cuts, how closely int8 head and float tail together follow the float model."""
    stored, real = flatgraph.read(integer), flatgraph.read(made.data)
    means = meanings.of_graph(stored, has_labels=has_labels)
    few = [array[:_MEASURED] for array in samples]
    expected = model.predict(few)
    measured = {}
    for cut in chosen:
        tail = float_tail.tail_bytes(real, cut.boundary, made.described.counterparts[cut.id])
        measured[cut.id] = fidelity.compare_chain(model, expected, (cuts.head_bytes(stored, cut), tail), few, means)
    return measured
