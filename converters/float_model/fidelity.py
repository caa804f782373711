"""How closely the int8 model follows the float model on samples: two figures for each output.

SQNR counts only what varies. A level that is always the same tells nothing, and can be most of the power: of scores
that hardly move, 15 dB of power were 2 dB of what varied. So each value's mean over the samples is no signal; every
error is an error.
"""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import reduce

import numpy as np

from converters.loading import quiet
from converters.loading.model import LoadedModel, joined, stored_samples
from tflsplit import fidelity as kept_fidelity
from tflsplit.fidelity import MeasuredOn
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import Array, decibels, dequantise

_ROUNDING = 1e-12  # of the power, by which float32 differs from itself

# Below either, a warning says what helps. int8 of a sound classifier agrees in 97 % and more, at 20 dB and more.
LEAST_AGREEMENT = 0.95
LEAST_SQNR_DB = 12.0


@dataclass(frozen=True, slots=True)
class Fidelity:
    """`top1_agreement` (0..1) where the output has a class axis, else None; `sqnr_db` is infinite without any error,
    and None where nothing varies."""

    output: str
    samples: int
    top1_agreement: float | None
    sqnr_db: float | None


def measure(model: LoadedModel, tflite: bytes, samples: Sequence[Array]) -> tuple[Fidelity, ...]:
    """Compare `tflite`, quantised from `model`, with it. Samples are real values, (samples, …) for each input."""
    return compare_chain(model, model.predict(samples), (tflite,), samples)


def compare_chain(
    model: LoadedModel, expected: Sequence[Array], chain: Sequence[bytes], samples: Sequence[Array]
) -> tuple[Fidelity, ...]:
    """The float model's outputs and those of a chain of files, each fed with the outputs of the one before."""
    found = _outputs(chain, samples)
    return tuple(
        compare(name, *pair) for name, pair in zip(model.output_names, zip(expected, found, strict=True), strict=True)
    )


def compare(output: str, expected: Array, found: Array) -> Fidelity:
    """One output's float and int8 values, (samples, …) each."""
    has_classes = expected.ndim == 2 and expected.shape[1] > 1
    agreement = float(np.mean(expected.argmax(1) == found.argmax(1))) if has_classes else None
    wide = expected.astype(np.float64)
    error = float(np.sum(np.square(wide - found)))
    signal = float(np.sum(np.square(wide - wide.mean(0))))
    is_constant = signal <= _ROUNDING * float(np.sum(np.square(wide)))
    return Fidelity(output, len(expected), agreement, None if is_constant else decibels(signal, error))


def recorded(measured: Iterable[Fidelity], measured_on: MeasuredOn) -> tuple[kept_fidelity.Fidelity, ...]:
    """As the manifest holds them. Inputs that were made up say nothing of classes. JSON has no infinity: 300 dB, beyond
    what float32 can differ by, stands for it, and -300 for nothing but error."""
    is_real = measured_on is not MeasuredOn.SYNTHETIC
    return tuple(
        kept_fidelity.Fidelity(
            entry.output,
            entry.samples,
            measured_on,
            entry.top1_agreement if is_real else None,
            None if entry.sqnr_db is None else round(max(-300.0, min(entry.sqnr_db, 300.0)), 2),
        )
        for entry in measured
    )


def warnings(recorded: Sequence[kept_fidelity.Fidelity], *, has_float_tails: bool) -> tuple[str, ...]:
    """A line for each output that is far from float, with what helps."""
    return tuple(_warning(entry, has_float_tails=has_float_tails) for entry in recorded if _is_far(entry))


def _is_far(entry: kept_fidelity.Fidelity) -> bool:
    agrees_seldom = entry.top1_agreement is not None and entry.top1_agreement < LEAST_AGREEMENT
    return agrees_seldom or (entry.sqnr_db is not None and entry.sqnr_db < LEAST_SQNR_DB)


def _warning(entry: kept_fidelity.Fidelity, *, has_float_tails: bool) -> str:
    data = "calibration data" if entry.measured_on is MeasuredOn.SYNTHETIC else "more or other calibration data"
    tails = "" if has_float_tails else "; --tail float32"
    return (
        f"{entry.output}: int8 is far from float ({entry.closeness}); what helps: {data}{tails}; "
        "`tflsplit inspect PKG --errors SAMPLES` names the operators that lose most"
    )


def _outputs(chain: Sequence[bytes], samples: Sequence[Array]) -> tuple[Array, ...]:
    """What the last file of a chain gives for all samples, in real values."""
    with quiet.silenced(), ExitStack() as stack:
        interpreters = [stack.enter_context(Interpreter(tflite, threads=2)) for tflite in chain]
        rows = []
        for sample in stored_samples(samples, interpreters[0].inputs):
            found = reduce(lambda arrays, interpreter: interpreter.run(*arrays), interpreters, sample)
            rows.append([dequantise(*pair) for pair in zip(found, interpreters[-1].outputs, strict=True)])
    return joined(rows)
