"""How well the int8 model does what the float model does, on samples: a number for each output."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from converters.loading import quiet
from converters.loading.model import LoadedModel, samples_of
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import Array, dequantise, quantise
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
    expected = model.predict(samples)
    found = _int8_outputs(tflite, samples)
    return tuple(
        compare(name, *pair) for name, pair in zip(model.output_names, zip(expected, found, strict=True), strict=True)
    )


def compare(output: str, expected: Array, found: Array) -> Fidelity:
    """One output's float and int8 values, (samples, …) each."""
    has_classes = expected.ndim == 2 and expected.shape[1] > 1
    agreement = float(np.mean(expected.argmax(1) == found.argmax(1))) if has_classes else None
    error = float(np.sum(np.square(expected.astype(np.float64) - found)))
    signal = float(np.sum(np.square(expected.astype(np.float64))))
    return Fidelity(output, len(expected), agreement, _decibels(signal, error))


def recorded(measured: Iterable[Fidelity]) -> tuple[manifest.Fidelity, ...]:
    """As the manifest keeps it: JSON has no infinity; 300 dB is beyond what float32 can differ by."""
    return tuple(
        manifest.Fidelity(entry.output, entry.samples, entry.top1_agreement, round(min(entry.sqnr_db, 300.0), 2))
        for entry in measured
    )


def _decibels(signal: float, error: float) -> float:
    if error == 0.0:
        return math.inf
    return 10 * math.log10(signal / error) if signal > 0.0 else -math.inf


def _int8_outputs(tflite: bytes, samples: Sequence[Array]) -> tuple[Array, ...]:
    with quiet.silenced(), Interpreter(tflite, threads=2) as interpreter:
        rows = []
        for sample in samples_of(samples):
            stored = [quantise(array, spec) for array, spec in zip(sample, interpreter.inputs, strict=True)]
            outputs = interpreter.run(*stored)
            rows.append([dequantise(array, spec) for array, spec in zip(outputs, interpreter.outputs, strict=True)])
    return tuple(np.concatenate(column) for column in zip(*rows, strict=True))
