"""How closely the int8 model follows the float model on samples: two figures for each output."""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import reduce

import numpy as np

from converters.loading import quiet
from converters.loading.model import LoadedModel, joined, stored_samples
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import Array, decibels, dequantise
from tflsplit.package import manifest


@dataclass(frozen=True, slots=True)
class Fidelity:
    """`top1_agreement` (0..1) where the output has a class axis, else None; `sqnr_db` is infinite without any error."""

    output: str
    samples: int
    top1_agreement: float | None
    sqnr_db: float


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
    error = float(np.sum(np.square(expected.astype(np.float64) - found)))
    signal = float(np.sum(np.square(expected.astype(np.float64))))
    return Fidelity(output, len(expected), agreement, decibels(signal, error))


def recorded(measured: Iterable[Fidelity]) -> tuple[manifest.Fidelity, ...]:
    """As the manifest holds them. JSON has no infinity: 300 dB, beyond what float32 can differ by, stands for it."""
    return tuple(
        manifest.Fidelity(entry.output, entry.samples, entry.top1_agreement, round(min(entry.sqnr_db, 300.0), 2))
        for entry in measured
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
