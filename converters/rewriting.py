"""Rewrites of a `.tflite` that leave every result as it is, proven by running the model before and after.

A rewrite changes how an operator is written, never a weight, a scale or a result. One whose results differ in a single
bit is not used.
"""

from collections.abc import Callable, Sequence

import numpy as np

from converters.loading import quiet
from converters.loading.model import stored_samples
from tflsplit import text
from tflsplit.graph import flatgraph
from tflsplit.graph.edit import Edit
from tflsplit.graph.interpreter import Interpreter, Kernels
from tflsplit.graph.tensors import Array, TensorSpec
from tflsplit.package import verify
from tflsplit.values.classes import dataclass

_PROOFS = 8  # inputs to run: those given first, then random ones

Pass = Callable[[Edit], list[str]]


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The model, and a text for each change or for why there is none."""

    data: bytes
    notes: tuple[str, ...] = ()


def rewrite(
    data: bytes, passes: Sequence[Pass], samples: Sequence[Array] = (), *, frees_kernels: bool = False
) -> Rewritten:
    """Apply passes, which say what they changed, if the whole model stays bit-exact on `samples` and random inputs.

    `samples` are real values, one array an input. With `frees_kernels` it is enough to be bit-exact by the runtime's
    own kernels: XNNPACK leaves operators of open shapes to these, and rounds differently once it takes them.
    """
    edited = Edit(flatgraph.read(data))
    notes = [note for one in passes for note in one(edited)]
    if not notes:
        return Rewritten(data)
    changed = flatgraph.pack(edited.source)
    for kernels, proof in _PROVEN.items() if frees_kernels else ((Kernels.SERVING, "bit-exact"),):
        count = _equal_runs(data, changed, samples, kernels)
        if count is not None:
            return Rewritten(changed, tuple(f"{note}; {proof} on {text.counted(count, 'input')}" for note in notes))
    return Rewritten(data, (f"left as it was, its results would change: {', '.join(notes)}",))


_PROVEN = {
    Kernels.SERVING: "bit-exact",
    Kernels.BUILTIN: "XNNPACK takes more of the operators now and may round differently; bit-exact without it",
}


def _equal_runs(before: bytes, after: bytes, samples: Sequence[Array], kernels: Kernels) -> int | None:
    """How many inputs gave the same bits; None as soon as one does not, or if a tensor is not what the file says."""
    graph = flatgraph.read(after)
    with (
        quiet.silenced(),
        Interpreter(before, kernels=kernels) as old,
        Interpreter(after, kernels=kernels, keeps_intermediates=True) as new,
    ):
        inputs = _inputs(new.inputs, samples)
        for arrays in inputs:
            expected, found = old.run(*arrays), new.run(*arrays)
            if any(not np.array_equal(*pair) for pair in zip(expected, found, strict=True)):
                return None
        for operator in graph.operators:
            for index in operator.outputs:
                if graph.tensors[index].spec and new.tensor(index).shape != graph.tensors[index].shape:
                    return None
    return len(inputs)


def _inputs(specs: Sequence[TensorSpec], samples: Sequence[Array]) -> list[tuple[Array, ...]]:
    given = stored_samples([array[: _PROOFS // 2] for array in samples], specs) if samples else []
    return [*given, *verify.random_samples(specs, _PROOFS - len(given))]
