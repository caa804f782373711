"""Any external delegate of TensorFlow Lite: a shared library by which makers of NPUs, GPUs and DSPs run models."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from edge_runtime.accelerators import child, diagnosis, protocol
from edge_runtime.accelerators.diagnosis import Failure
from tflsplit import errors
from tflsplit.graph.tensors import Array, TensorSpec


@dataclass(frozen=True, slots=True)
class Delegate:
    """`options` are the library's own; `threads` are for what the delegate leaves to the CPU."""

    needs_compiled: ClassVar[bool] = False
    is_external: ClassVar[bool] = True

    library: str
    options: Mapping[str, str] = field(default_factory=dict)
    threads: int = 1
    limits: child.Limits = child.DEFAULT_LIMITS

    @property
    def name(self) -> str:
        return f"delegate:{self.library}"

    def open(self, model: bytes, *, name: str) -> protocol.OpenModel:
        """DeviceError if the delegate takes over no operator: the CPU would do all the work unnoticed."""
        opened = DelegatedModel(self, model, name, lambda failure: diagnosis.explain(failure, self.library))
        if opened.delegated_parts == 0:
            opened.close()
            raise errors.DeviceError(
                f"{self.library}: takes over none of the operators of {name}: look whether it wants another kind of "
                "model (data type, compiled or not), or run on --accelerator cpu"
            )
        return opened


class DelegatedModel:
    """A model that a delegate runs in a child process; `explain` turns a failure into a message."""

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
        self.properties: Mapping[str, str] = {
            "library": accelerator.library,
            "build": self._child.build,
            **accelerator.options,
        }

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
