"""Shared memory for the tensors of a model, between two processes: first the inputs, then the outputs."""

import mmap
import os
from collections.abc import Sequence

import numpy as np

from tflsplit.graph.tensors import Array, TensorSpec

_ALIGNMENT = 64  # a cache line, and more than any data type asks for


def create() -> int:
    """A file descriptor of shared memory for the other process; `views` gives it its size."""
    return os.memfd_create("tflsplit-tensors")


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
