"""Where int8 loses, of a model that was just quantised: for what `tflsplit convert` says beside its fidelity."""

from collections.abc import Sequence

from converters import quantize
from converters.float_model import matching
from converters.loading import quiet
from converters.loading.model import LoadedModel, stored_samples
from tflsplit import errors, text
from tflsplit.graph import cuts, flatgraph
from tflsplit.graph.tensors import Array
from tflsplit.losses import measurement, mixing
from tflsplit.losses.measurement import Measured

_LONGEST_NAME = 60  # converters join the names of what they fuse
_SAMPLES = 8  # of 64, the worst operator and its figure within a decibel


def advice(model: LoadedModel, integer: bytes, samples: Sequence[Array]) -> str | None:
    """Which operator of `integer`, quantised from `model`, loses most on these real values, in a few words; and what
    avoids it where that is known. None where nothing can be told."""
    graph = flatgraph.read(integer)
    try:
        measured = _measured(model, integer, samples)
    except (errors.ModelError, errors.DeviceError):  # a look that only advises refuses nothing
        return None
    mixed = mixing.find(measured, cuts.enumerate_cuts(graph), has_float_tails=False, came_quantised=False)
    if mixed is not None:
        return str(mixed)
    known = [each for each in measured.operators if each.alone_db is not None]
    if not known:
        return None
    worst = min(known, key=lambda each: each.least_db)
    name = text.shortened(worst.tensor.split(";")[0], _LONGEST_NAME)
    return f"op{worst.index:03d} ({worst.name}, {name}) loses most: alone it keeps {worst.alone_db:.1f} dB"


def _measured(model: LoadedModel, integer: bytes, samples: Sequence[Array]) -> Measured:
    floating = quantize.unquantised(model, integer)
    matched = matching.find(integer, floating, samples)
    graph = flatgraph.read(integer)
    few = stored_samples([array[:_SAMPLES] for array in samples], graph.specs(graph.inputs))
    counterparts = {index: found.tensor for index, found in matched.items() if found.tensor is not None}
    with quiet.silenced():
        return measurement.measure(integer, floating, counterparts, few)
