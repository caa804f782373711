"""Answers to inputs: head and tail one after the other in this process, and the answer made as the cloud makes it."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from broker.cloud.tail import Tails
from edge_runtime.head import Head
from edge_runtime.sources import frames, words
from tflsplit import arguments, errors
from tflsplit.api import connections, packages
from tflsplit.arguments import PathLike
from tflsplit.graph.cuts import Cut
from tflsplit.graph.tensors import Array
from tflsplit.package import outputs, trial
from tflsplit.package.outputs import Outputs
from tflsplit.package.reading import Package
from tflsplit.values.classes import dataclass


@dataclass(frozen=True, slots=True)
class Prediction:
    """`input` is the path of a picture, or of a file with the number of the sample in it, as `test.npy[3]`."""

    input: str
    answer: Outputs

    @property
    def label(self) -> str | None:
        return self.answer.label

    @property
    def score(self) -> float | None:
        return self.answer.score

    def as_json(self) -> dict[str, object]:
        """The keys are those of results (docs/answers.md)."""
        answer = self.answer
        return {
            "input": self.input,
            "label": answer.label,
            "score": answer.score,
            "top": [{"label": label, "score": score} for label, score in answer.top],
            "values": {name: list(values) for name, values in answer.values} or None,
            **({} if answer.found is None else answer.found.as_json()),
        }


class Pair:
    """Head and tail of a cut, open in this process; inputs of a stateful package are the steps of one stream."""

    def __init__(self, package: Package, cut: Cut) -> None:
        self._package = package
        self._cut = cut
        self._head, self._tails = Head(package, cut), Tails(package)
        self._kept: tuple[bytes | None, bytes | None] = (None, None)

    def run(self, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
        """What `Manifest.results` describes, of inputs as the model stores them."""
        if not self._package.manifest.is_stateful:
            return self._tails.run(self._cut, self._head.run(arrays))
        boundary, head_kept = self._head.step(arrays, self._kept[0])
        found, tail_kept = self._tails.step(self._cut, self._kept[1], boundary)
        self._kept = (head_kept, tail_kept)
        return found

    def __enter__(self) -> "Pair":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._head.close()
        self._tails.close()


def predict(
    pkg: PathLike | Package,
    inputs: "PathLike | Array | Sequence[PathLike] | Sequence[Array]",
    *,
    cut: str | Cut | None = None,
    top: int = 3,
) -> tuple[Prediction, ...]:
    """What a deployment of the package would answer to each input: head and tail of a cut run in this process.

    `inputs` is a picture, a folder of pictures, a .npy, .npz or .csv file, several of these, or an array for each input
    of the model. `cut` is by default the package's own choice; `top` is how many classes of each answer are told.
    """
    return tuple(each_of(packages.open(pkg), inputs, cut=cut, top=top))


def each_of(package: Package, inputs: Any, *, cut: str | Cut | None = None, top: int = 3) -> Iterator[Prediction]:
    """As `predict`, one after the other. Of a camera it is one picture."""
    if arguments.instance(top, int, "top") < 1:
        raise errors.SettingsError(f"top {top}: give at least 1")
    chosen = package.default_cut() if cut is None else package.cut(cut)
    trial.once(package)
    with Pair(package, chosen) as pair:
        for wanted in _several(inputs):
            connect = connections.of_pictures(None, ("predict", "topic"))
            with contextlib.closing(frames.open_source(wanted, package.manifest, connect=connect)) as source:
                for number, taken in enumerate(source.captures()):
                    size = source.size_of(taken.raw)
                    answer = outputs.of(package.manifest, pair.run(source.convert(taken.raw)), count=top, source=size)
                    yield Prediction(_name(wanted, taken.raw, number), answer)
                    if source.is_live:
                        break


def _several(inputs: Any) -> Sequence[Any]:
    is_list = isinstance(inputs, list | tuple) and not any(isinstance(each, np.ndarray) for each in inputs)
    return inputs if is_list else (inputs,)


def _name(wanted: Any, raw: Any, number: int) -> str:
    if isinstance(raw, tuple) and len(raw) == 1 and isinstance(raw[0], Path):
        return str(raw[0])
    given = os.fspath(wanted) if isinstance(wanted, str | os.PathLike) else "input"
    return words.parse(given).shown if words.is_word(given) else f"{given}[{number}]"
