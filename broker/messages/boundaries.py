"""The table of tensors in a frame: what each of them is, without names. `broker.messages.wire` says where it stands."""

import functools
import struct

import numpy as np

from tflsplit import errors
from tflsplit.graph import tensors

MAX_TENSORS = 64  # the widest boundary seen in a public model carries eleven
MAX_RANK = 8  # TFLite's kernels stop at six

_TENSOR = struct.Struct("<BBfi")
_U32 = (1 << 32) - 1
_I32 = 1 << 31

# How many boundaries are cached in packed and parsed form: a process uses one or two.
_BOUNDARIES = 64


@functools.lru_cache(_BOUNDARIES)
def check(boundary: tuple[tensors.TensorSpec, ...]) -> None:
    if not 1 <= len(boundary) <= MAX_TENSORS:
        raise ValueError(f"boundary has {len(boundary)} tensors, expected 1 to {MAX_TENSORS}")
    for place, spec in enumerate(boundary):
        _check_tensor(place, spec)


def _check_tensor(place: int, spec: tensors.TensorSpec) -> None:
    if len(spec.shape) > MAX_RANK:
        raise ValueError(f"tensor {place} has rank {len(spec.shape)}, at most {MAX_RANK} can travel")
    if not all(1 <= extent <= _U32 for extent in spec.shape):
        raise ValueError(f"tensor {place} has shape {spec.shape}, expected extents of 1 to {_U32}")
    if not -_I32 <= spec.zero_point < _I32:
        raise ValueError(f"zero point {spec.zero_point} of tensor {place} does not fit 32 bits")
    if float(np.float32(spec.scale)) != spec.scale:
        raise ValueError(f"scale {spec.scale!r} of tensor {place} is not a 32-bit float, as TFLite's scales are")


@functools.lru_cache(_BOUNDARIES)
def packed(boundary: tuple[tensors.TensorSpec, ...]) -> bytes:
    return b"".join(_pack_tensor(spec) for spec in boundary)


def _pack_tensor(spec: tensors.TensorSpec) -> bytes:
    fixed = _TENSOR.pack(tensors.CODE_OF_DTYPE[spec.dtype], len(spec.shape), spec.scale, spec.zero_point)
    return fixed + struct.pack(f"<{len(spec.shape)}I", *spec.shape)


def ends_at(data: memoryview, begins: int, count: int) -> int:
    """The end of the table by its own ranks, at most the end of the data; nothing in it is checked."""
    offset = begins
    for _ in range(count):
        if offset + 1 >= data.nbytes:
            break
        offset += _TENSOR.size + 4 * data[offset + 1]
    return min(offset, data.nbytes)


@functools.lru_cache(_BOUNDARIES)
def parse(table: bytes, count: int) -> tuple[tuple[tensors.TensorSpec, ...], int]:
    """The specs, and the bytes of their tensors, for which nothing is allocated yet."""
    if not 1 <= count <= MAX_TENSORS:
        raise errors.FrameError(f"frame has {count} tensors, expected 1 to {MAX_TENSORS}")
    offset = 0
    specs = []
    for place in range(count):
        spec, offset = _parse_tensor(table, offset, place)
        specs.append(spec)
    return tuple(specs), tensors.payload_bytes(tuple(specs))


def _parse_tensor(data: bytes, offset: int, place: int) -> tuple[tensors.TensorSpec, int]:
    try:
        code, rank, scale, zero_point = _TENSOR.unpack_from(data, offset)
        if rank > MAX_RANK:
            raise errors.FrameError(f"tensor {place} has rank {rank}, at most {MAX_RANK} is accepted")
        shape = struct.unpack_from(f"<{rank}I", data, offset + _TENSOR.size)
    except struct.error as problem:
        raise errors.FrameError(f"frame ends within the description of tensor {place}") from problem
    if code not in tensors.DTYPE_OF_CODE:
        raise errors.FrameError(f"tensor {place} has data type code {code}, which cannot cross a cut")
    try:
        spec = tensors.TensorSpec("", shape, tensors.DTYPE_OF_CODE[code], scale, zero_point)
    except ValueError as problem:
        raise errors.FrameError(f"tensor {place}: {problem}") from problem
    return spec, offset + _TENSOR.size + 4 * rank
