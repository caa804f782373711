"""How closely the int8 model follows the float model on samples: two figures for each output.

SQNR counts only what varies. A level that is always the same tells nothing, and can be most of the power: of scores
that hardly move, 15 dB of power were 2 dB of what varied. So each value's mean over the samples is no signal; every
error is an error.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import reduce

import numpy as np

from converters.loading import quiet
from converters.loading.model import LoadedModel, joined, stored_samples
from tflsplit import fidelity as kept_fidelity
from tflsplit.fidelity import NO_ERROR_DB, MeasuredOn
from tflsplit.graph import flatgraph, meanings
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.meanings import Meaning
from tflsplit.graph.tensors import Array, decibels, dequantise
from tflsplit.losses import columns
from tflsplit.values.classes import dataclass

_ROUNDING = 1e-12  # of the power, by which float32 differs from itself

# Below either, a warning says what helps. int8 of a sound classifier agrees in 97 % and more, at 20 dB and more.
LEAST_AGREEMENT = 0.95
LEAST_SQNR_DB = 12.0


@dataclass(frozen=True, slots=True)
class Fidelity:
    """`top1_agreement` (0..1) is the share of samples with the same answer, None for an output without classes;
    `sqnr_db` is infinite without any error, and None where nothing varies; where columns of different size share a
    scale, as boxes and scores do, it is that of the columns that lose most."""

    output: str
    samples: int
    top1_agreement: float | None
    sqnr_db: float | None


def measure(
    model: LoadedModel, tflite: bytes, samples: Sequence[Array], *, has_labels: bool = False
) -> tuple[Fidelity, ...]:
    """Compare `tflite`, quantised from `model`, with it. Samples are real values, (samples, …) for each input."""
    means = meanings.of_graph(flatgraph.read(tflite), has_labels=has_labels)
    return compare_chain(model, model.predict(samples), (tflite,), samples, means)


def compare_chain(
    model: LoadedModel,
    expected: Sequence[Array],
    chain: Sequence[bytes],
    samples: Sequence[Array],
    means: Sequence[Meaning],
) -> tuple[Fidelity, ...]:
    """The float model's outputs, which are what they `mean`, and those of a chain of files, each fed with the outputs
    of the one before."""
    found = _outputs(chain, samples)
    return tuple(compare(*each) for each in zip(model.output_names, expected, found, means, strict=True))


def compare(output: str, expected: Array, found: Array, meaning: Meaning) -> Fidelity:
    """One output's float and int8 values, (samples, …) each."""
    agreement = None
    if meaning is not Meaning.VALUES:
        agreement = float(np.mean([_says_the_same(*pair, meaning) for pair in zip(expected, found, strict=True)]))
    wide = expected.astype(np.float64)
    error = float(np.sum(np.square(wide - found)))
    signal = float(np.sum(np.square(wide - wide.mean(0))))
    if signal <= _ROUNDING * float(np.sum(np.square(wide))):
        return Fidelity(output, len(expected), agreement, None)
    sqnr_db = decibels(signal, error)
    if meaning is Meaning.VALUES:
        sqnr_db = min([sqnr_db, *(group.sqnr_db for group in _hidden(expected, found, sqnr_db))])
    return Fidelity(output, len(expected), agreement, sqnr_db)


def _hidden(expected: Array, found: Array, sqnr_db: float) -> tuple[columns.Group, ...]:
    tallies = columns.Tallies()
    for place in range(len(expected)):
        tallies.add(expected[place : place + 1].astype(np.float64), found[place : place + 1])
    return columns.hidden(tallies, sqnr_db)


def _says_the_same(expected: Array, found: Array, meaning: Meaning) -> bool:
    """Whether one sample has the same class, or the same labels."""
    if meaning in (Meaning.SIGMOID, Meaning.MULTI_LABEL):
        return bool(np.array_equal(expected >= meanings.IS_THERE, found >= meanings.IS_THERE))
    return bool(expected.argmax() == found.argmax())


def recorded(measured: Iterable[Fidelity], measured_on: MeasuredOn) -> tuple[kept_fidelity.Fidelity, ...]:
    """As the manifest holds them. Inputs that were made up say nothing of classes. `NO_ERROR_DB` stands for infinity,
    and its negative for nothing but error."""
    is_real = measured_on is not MeasuredOn.SYNTHETIC
    return tuple(
        kept_fidelity.Fidelity(
            entry.output,
            entry.samples,
            measured_on,
            entry.top1_agreement if is_real else None,
            None if entry.sqnr_db is None else round(max(-NO_ERROR_DB, min(entry.sqnr_db, NO_ERROR_DB)), 2),
        )
        for entry in measured
    )


def warnings(
    recorded: Sequence[kept_fidelity.Fidelity], *, has_float_tails: bool, worst: Callable[[], str | None] = lambda: None
) -> tuple[str, ...]:
    """A line for each output that is far from float, with what helps. `worst` says which operator loses most; it is
    asked only where there is something to say."""
    found = tuple(_warning(entry, has_float_tails=has_float_tails) for entry in recorded if _is_far(entry))
    named = worst() if found else None
    return found if named is None else (*found, f"where int8 loses: {named}")


def _is_far(entry: kept_fidelity.Fidelity) -> bool:
    agrees_seldom = entry.top1_agreement is not None and entry.top1_agreement < LEAST_AGREEMENT
    return agrees_seldom or (entry.sqnr_db is not None and entry.sqnr_db < LEAST_SQNR_DB)


def _warning(entry: kept_fidelity.Fidelity, *, has_float_tails: bool) -> str:
    data = "calibration data" if entry.measured_on is MeasuredOn.SYNTHETIC else "more or other calibration data"
    tails = "; a cut before this one" if has_float_tails else "; --tail float32"
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
