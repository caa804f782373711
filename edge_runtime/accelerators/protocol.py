"""What the edge knows of an accelerator: two small protocols. Each kind of device has a file of its own beside this.

A device is named by options and configuration only, never by a package or a message.
"""

from collections.abc import Mapping
from typing import Protocol

from tflsplit.graph.tensors import Array, TensorSpec


class OpenModel(Protocol):
    """A model on a device, ready to run; for one thread at a time. DeviceError from `run` means that it has died."""

    @property
    def name(self) -> str:
        """The accelerator's, as a person would ask for it."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def properties(self) -> Mapping[str, str]:
        """What a person would want to know about what runs here: library, device, threads."""

    def run(self, *arrays: Array) -> tuple[Array, ...]: ...

    def close(self) -> None: ...


class Accelerator(Protocol):
    """A way to run models on this machine, not yet opened."""

    @property
    def name(self) -> str: ...

    @property
    def needs_compiled(self) -> bool:
        """Whether it runs only what `edgetpu_compiler` made."""

    @property
    def is_external(self) -> bool:
        """Whether it runs outside this process, and so may die and come back while we go on."""

    def open(self, model: bytes, *, name: str) -> OpenModel:
        """DeviceError says what is wrong and what to do about it; `name` is what it calls the model."""
