"""Where int8 loses, of a model that was just quantised: for what `tflsplit convert` says beside its fidelity."""

from collections.abc import Sequence

from converters import quantize
from converters.float_model import matching
from converters.loading import quiet
from converters.loading.model import LoadedModel, stored_samples
from tflsplit.graph import cuts, flatgraph
from tflsplit.graph.tensors import Array
from tflsplit.losses import measurement, mixing

_SAMPLES = 8  # of 64, the worst operator and its figure within a decibel


def advice(model: LoadedModel, integer: bytes, samples: Sequence[Array]) -> str | None:
    """Which operator of `integer`, quantised from `model`, loses most on these real values, in a few words; and what
    avoids it where that is known. None where nothing can be told. It converts the float model, which takes seconds."""
    floating = quantize.unquantised(model, integer)
    matched = matching.find(integer, floating, samples)
    graph = flatgraph.read(integer)
    few = stored_samples([array[:_SAMPLES] for array in samples], graph.specs(graph.inputs))
    counterparts = {index: found.tensor for index, found in matched.items() if found.tensor is not None}
    with quiet.silenced():
        measured = measurement.measure(integer, floating, counterparts, few)
    mixed = mixing.find(measured, cuts.enumerate_cuts(graph), has_float_tails=False, came_quantised=False)
    if mixed is not None:
        return str(mixed)
    worst = min(
        (each for each in measured.operators if each.alone_db is not None), key=lambda one: one.least_db, default=None
    )
    if worst is None:
        return None
    return f"op{worst.index:03d} ({worst.name}, {worst.tensor}) loses most: alone it keeps {worst.alone_db:.1f} dB"
