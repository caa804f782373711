"""Random inputs for the workers of a shared model, and what the whole model makes of each."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from broker.messages.results import Result
from edge_runtime.sources import frames as sources
from tflsplit.graph import indices
from tflsplit.graph.interpreter import Interpreter
from tflsplit.package import verify
from tflsplit.placement.folder import Shared
from tflsplit.values.classes import dataclass

# Inputs that differ; more frames take them again.
_INPUTS = 8


@dataclass(frozen=True, slots=True)
class Whole:
    """`source` is a file of inputs; `outputs` are the bytes of the model's outputs for each."""

    source: Path
    outputs: Sequence[Sequence[bytes]]

    def wrong(self, results: Iterable[Result]) -> int:
        """How many of these results, whose frames take the inputs in turn, are not the whole model's."""
        return sum(
            [output.data for output in each.outputs] != list(self.outputs[each.sequence % len(self.outputs)])
            for each in results
        )


def write(shared: Shared, path: Path) -> Whole:
    """The inputs go to that file."""
    package = shared.package
    sizes = indices.table_sizes(package.graph)
    samples = verify.random_samples(package.manifest.inputs, _INPUTS, table_sizes=sizes)
    columns: dict[str, Any] = {
        spec.name: np.concatenate(arrays)
        for spec, arrays in zip(package.manifest.inputs, zip(*samples, strict=True), strict=True)
    }
    np.savez(path, **columns)
    opened = sources.open_source(str(path), package.manifest)
    with Interpreter(package.model_bytes()) as whole:
        made = [[array.tobytes() for array in whole.run(*each.arrays)] for each in opened.inputs()]
    return Whole(path, made)
