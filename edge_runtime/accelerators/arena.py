"""Tensors in memory that two processes share: the inputs of a model one after the other, then its outputs."""

import mmap
import os
from collections.abc import Sequence

import numpy as np

from tflsplit.graph.tensors import Array, TensorSpec

_ALIGNMENT = 64  # a cache line, and more than any data type asks for


def create() -> int:
    """A file descriptor of memory without a size yet, to be given to the other process."""
    return os.memfd_create("tflsplit-tensors")


def views(descriptor: int, specs: Sequence[TensorSpec]) -> tuple[Array, ...]:
    """An array over the shared memory for each tensor; both sides give the same specs. They keep the memory alive."""
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
