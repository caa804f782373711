"""The head of one cut, loaded and ready to run on this machine."""

from types import TracebackType

from tflsplit import verify
from tflsplit.cuts import Cut
from tflsplit.interpreter import Interpreter
from tflsplit.package import Package
from tflsplit.tensors import Array


class Head:
    """Runs the head of `cut`: the model's inputs in, the boundary out, both in stored types.

    Opening it checks that it gives exactly the boundary the package states (PackageError if not) and that there is a
    tail to go on from it (CutError if not). The head of the cut `input` computes nothing.
    """

    def __init__(self, package: Package, cut: Cut, *, threads: int = 1) -> None:
        package.check_has_tail(cut)
        self.cut = cut
        self._interpreter = None
        if cut.position > 0:
            name = f"{package.path}: head of {cut.id}"
            self._interpreter = Interpreter(package.head_bytes(cut), threads=threads, name=name)
            verify.check_boundary(package, cut, "head's outputs", self._interpreter.outputs)

    def run(self, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
        return arrays if self._interpreter is None else self._interpreter.run(*arrays)

    def close(self) -> None:
        if self._interpreter is not None:
            self._interpreter.close()

    def __enter__(self) -> "Head":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
