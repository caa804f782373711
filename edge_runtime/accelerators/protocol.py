"""The protocols of an accelerator and of a model that runs on it. Each kind of accelerator has a file in this folder.

Only options and configuration name a device, never a package or a message.
"""

from collections.abc import Mapping
from typing import Protocol

from tflsplit.graph.tensors import Array, TensorSpec


class OpenModel(Protocol):
    """A model on a device, ready to run; for one thread at a time. DeviceError from `run`: the device has failed."""

    @property
    def name(self) -> str:
        """The accelerator's name, as people write it."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def properties(self) -> Mapping[str, str]:
        """Details for people: library, device, threads."""

    def run(self, *arrays: Array) -> tuple[Array, ...]: ...

    def close(self) -> None: ...


class Accelerator(Protocol):
    """A way to run models on this machine."""

    @property
    def name(self) -> str: ...

    @property
    def needs_compiled(self) -> bool:
        """Whether it runs only heads that `edgetpu_compiler` has compiled."""

    @property
    def is_external(self) -> bool:
        """Whether it runs outside this process, so that it may fail and come back while the edge goes on."""

    def open(self, model: bytes, *, name: str) -> OpenModel:
        """DeviceError says what is wrong and what to do about it, and calls the model `name`."""
