"""Chooses the levels of features in fewer bits, and measures what each number of bits loses at each cut.

Measured is what the tail makes of decoded frames, against what the whole int8 model makes of the same inputs.
"""

from collections.abc import Callable, Iterator, Sequence

from converters.float_model import fidelity
from converters.loading.model import joined
from tflsplit.coding import bit_codec, levels, precisions
from tflsplit.coding.bit_codec import Levels
from tflsplit.coding.precisions import Precision
from tflsplit.fidelity import MeasuredOn
from tflsplit.graph import tensors
from tflsplit.graph.cuts import Cut
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.meanings import Meaning
from tflsplit.graph.tensors import Array
from tflsplit.values.classes import dataclass

# Four precisions at each useful cut: on this many samples MobileNetV2 takes 10 s, a ResNet50 half a minute.
_MOST_SAMPLES, _FEWEST_SAMPLES = 64, 16
_MOST_MACS = 1e11

Sample = tuple[Array, ...]
Boundaries = dict[str, list[Sample]]


@dataclass(frozen=True, slots=True)
class Samples:
    """Inputs as the model stores them: levels are chosen on some and judged on others."""

    calibrating: Sequence[Sample]
    measuring: Sequence[Sample]
    measured_on: MeasuredOn


def measure(
    model: bytes, cuts: Sequence[Cut], tail_of: Callable[[Cut], bytes], samples: Samples, meaning: Meaning
) -> bytes | None:
    """The file of a package, for its `cuts`; None where no features could travel in fewer bits. `meaning` is the first
    output's."""
    calibrating, measuring = samples.calibrating, samples.measuring
    coded = [cut for cut in cuts if cut.tail.operators and any(map(levels.can_be_coded, cut.boundary))]
    if not coded or not measuring:
        return None
    if calibrating is measuring and samples.measured_on is MeasuredOn.UNSEEN:  # the model came quantised
        calibrating, measuring = measuring[::2], measuring[1::2] or measuring
    macs = sum(cut.tail.macs for cut in coded) * len(levels.BITS)
    most = int(min(_MOST_SAMPLES, max(_FEWEST_SAMPLES, _MOST_MACS // max(macs, 1))))
    chosen_on = _boundaries(model, coded, calibrating[:most])
    judged_on = _boundaries(model, coded, measuring[:most])
    found = [
        each
        for cut in coded
        for each in _of_cut(
            cut, tail_of(cut), Samples(chosen_on[cut.id], judged_on[cut.id], samples.measured_on), meaning
        )
    ]
    return precisions.render(found) if found else None


def _boundaries(model: bytes, cuts: Sequence[Cut], samples: Sequence[Sample]) -> Boundaries:
    found: Boundaries = {cut.id: [] for cut in cuts}
    with Interpreter(model, keeps_intermediates=True) as whole:
        for sample in samples:
            whole.run(*sample)
            for cut in cuts:
                found[cut.id].append(tuple(whole.tensor(index) for index in cut.tensors))
    return found


def _of_cut(cut: Cut, tail: bytes, boundaries: Samples, meaning: Meaning) -> Iterator[Precision]:
    measuring = boundaries.measuring
    with Interpreter(tail, name=f"tail of {cut.id}") as opened:
        expected = _first_outputs(opened, measuring)
        for bits in levels.BITS:
            chosen = _levels(cut, boundaries.calibrating, bits)
            if bit_codec.payload_bytes(cut.boundary, chosen, bits) >= tensors.payload_bytes(cut.boundary):
                continue  # a boundary of a few bytes, to which the levels add more than is saved
            found = _first_outputs(opened, [_received(cut, chosen, bits, sample) for sample in measuring])
            compared = fidelity.compare(opened.outputs[0].name, expected, found, meaning)
            yield Precision(cut.id, bits, chosen, fidelity.recorded([compared], boundaries.measured_on)[0])


def _levels(cut: Cut, samples: Sequence[Sample], bits: int) -> Levels:
    return tuple(
        levels.best(levels.histogram(column), bits) if levels.can_be_coded(spec) else None
        for spec, column in zip(cut.boundary, zip(*samples, strict=True), strict=True)
    )


def _received(cut: Cut, chosen: Levels, bits: int, sent: Sample) -> Sample:
    """What a cloud decodes of a boundary."""
    coder = bit_codec.Bits(cut.boundary, chosen, bits)
    coded = coder.encode(b"".join(array.tobytes() for array in sent))
    return tensors.views(bit_codec.decode(coded, cut.boundary, bits), cut.boundary)


def _first_outputs(tail: Interpreter, boundaries: Sequence[Sample]) -> Array:
    return joined([[tensors.dequantise(tail.run(*boundary)[0], tail.outputs[0])] for boundary in boundaries])[0]
