"""Any TensorFlow Lite external delegate: NPUs, GPUs and DSPs whose makers ship a shared library for the interpreter."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from edge_runtime.accelerators import child, diagnosis, protocol
from edge_runtime.accelerators.diagnosis import Failure
from tflsplit import errors
from tflsplit.graph.tensors import Array, TensorSpec


@dataclass(frozen=True, slots=True)
class Delegate:
    """`options` are the library's own; `threads` are for what the delegate leaves to the CPU."""

    library: str
    options: Mapping[str, str] = field(default_factory=dict)
    threads: int = 1
    limits: child.Limits = child.DEFAULT_LIMITS

    @property
    def name(self) -> str:
        return f"delegate:{self.library}"

    @property
    def needs_compiled(self) -> bool:
        return False

    @property
    def is_external(self) -> bool:
        return True

    def open(self, model: bytes, *, name: str) -> protocol.OpenModel:
        """A delegate that takes over nothing is refused: the CPU would do all the work, and nobody would know."""
        opened = DelegatedModel(self, model, name, lambda failure: diagnosis.explain(failure, self.library))
        if opened.delegated_parts == 0:
            opened.close()
            raise errors.DeviceError(
                f"{self.library}: takes over none of the operators of {name}: look whether it wants another kind of "
                "model (data type, compiled or not), or run on --accelerator cpu"
            )
        return opened


class DelegatedModel:
    """A model run by a delegate in a process of its own, whose failures `explain` puts into words."""

    def __init__(self, accelerator: Delegate, model: bytes, name: str, explain: Callable[[Failure], str]) -> None:
        self.name = accelerator.name
        self._explain = explain
        try:
            self._child = child.Child(
                accelerator.library,
                accelerator.options,
                model,
                name=name,
                threads=accelerator.threads,
                limits=accelerator.limits,
            )
        except child.ChildError as failed:
            raise errors.DeviceError(explain(failed.failure)) from failed
        except OSError as cause:
            raise errors.DeviceError(f"{accelerator.library}: no process can be started for it: {cause}") from cause
        self.delegated_parts = self._child.delegated_parts
        self.properties: Mapping[str, str] = {"library": accelerator.library, **accelerator.options}

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self._child.outputs

    def run(self, *arrays: Array) -> tuple[Array, ...]:
        try:
            return self._child.run(*arrays)
        except child.ChildError as failed:
            raise errors.DeviceError(self._explain(failed.failure)) from failed

    def close(self) -> None:
        self._child.close()
