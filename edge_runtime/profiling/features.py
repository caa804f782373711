"""The tensors that cross each cut, for a few inputs: one run of the whole model gives those of every cut."""

from collections.abc import Sequence

from tflsplit.graph.cuts import Cut
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import Array
from tflsplit.package.reading import Package


class Features:
    """Holds every boundary tensor of `cuts` for each of `inputs`."""

    def __init__(self, package: Package, cuts: Sequence[Cut], inputs: Sequence[tuple[Array, ...]]) -> None:
        wanted = sorted({index for cut in cuts for index in cut.tensors})
        name = f"{package.path}/model.tflite"
        with Interpreter(package.model_bytes(), keeps_intermediates=True, name=name) as whole:
            self._by_input = tuple(_tensors(whole, arrays, wanted) for arrays in inputs)

    def of(self, cut: Cut) -> tuple[tuple[Array, ...], ...]:
        """The boundary of one cut, for each input."""
        return tuple(tuple(held[index] for index in cut.tensors) for held in self._by_input)


def _tensors(whole: Interpreter, arrays: tuple[Array, ...], wanted: Sequence[int]) -> dict[int, Array]:
    whole.run(*arrays)
    return {index: whole.tensor(index) for index in wanted}
