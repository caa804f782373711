"""Shared memory between processes: that of a model's tensors, first the inputs, then the outputs; and its bytes."""

import fcntl
import mmap
import os
from collections.abc import Sequence

import numpy as np

from tflsplit import errors
from tflsplit.graph.tensors import Array, TensorSpec

_ALIGNMENT = 64  # a cache line, and more than any data type asks for


def create() -> int:
    """A file descriptor of shared memory for the other process; `views` gives it its size."""
    return os.memfd_create("tflsplit-tensors", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def seal(descriptor: int) -> None:
    """No process can change its size any more: one that maps it is safe from whoever else has it."""
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)


def of_bytes(content: bytes) -> int:
    """A file descriptor of memory that holds them."""
    descriptor = os.memfd_create("tflsplit-model", os.MFD_CLOEXEC)
    with open(descriptor, "wb", closefd=False) as stream:
        stream.write(content)
    return descriptor


def views(descriptor: int, specs: Sequence[TensorSpec]) -> tuple[Array, ...]:
    """An array in the shared memory for each tensor; both processes give the same specs. The arrays keep it alive."""
    offsets, size = [], 0
    for spec in specs:
        offsets.append(size)
        size += -(-spec.bytes // _ALIGNMENT) * _ALIGNMENT
    os.ftruncate(descriptor, max(size, 1))
    memory = mmap.mmap(descriptor, max(size, 1))
    return tuple(
        np.ndarray(spec.shape, spec.dtype, buffer=memory, offset=offset)
        for spec, offset in zip(specs, offsets, strict=True)
    )


class Tensors:
    """The tensors of a model that another process runs, for whoever gives it inputs."""

    def __init__(self, descriptor: int, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
        self._specs = inputs
        self._arrays = views(descriptor, (*inputs, *outputs))

    def fill(self, given: Sequence[Array]) -> None:
        """Copies the inputs there; DataError for one of another shape or type."""
        for shared, spec, array in zip(self._arrays, self._specs, given, strict=False):
            if array.shape != spec.shape or array.dtype != shared.dtype:
                raise errors.DataError(
                    f"input {spec.name!r} is {spec.dtype} {spec.shape}, got {array.dtype} {array.shape}"
                )
            np.copyto(shared, array)

    def results(self) -> tuple[Array, ...]:
        """Copies of the outputs."""
        return tuple(shared.copy() for shared in self._arrays[len(self._specs) :])
