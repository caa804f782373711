"""What a tensor is, without its data: name, shape, data type and quantisation.

A spec never holds the array: a boundary is a tuple of specs and, beside it, a tuple of arrays.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from tflsplit.values.classes import dataclass, replace

# Not numpy.typing.NDArray: importing that module would add 5 ms to each start of an edge.
Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

# TFLite's TensorType codes (schema.fbs), the ones whose elements have a fixed size and may cross a cut.
DTYPE_OF_CODE = {
    0: "float32",
    1: "float16",
    2: "int32",
    3: "uint8",
    4: "int64",
    6: "bool",
    7: "int16",
    9: "int8",
    10: "float64",
    12: "uint64",
    15: "uint32",
    16: "uint16",
}
CODE_OF_DTYPE = {name: code for code, name in DTYPE_OF_CODE.items()}
_ITEM_BYTES = {name: np.dtype(name).itemsize for name in CODE_OF_DTYPE}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor's description: `real = scale * (stored - zero_point)`.

    `scale` is 0.0 for a tensor that is not quantised (TFLite's own convention). Shapes are static.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float = 0.0
    zero_point: int = 0

    def __post_init__(self) -> None:
        if self.dtype not in CODE_OF_DTYPE:
            raise ValueError(f"tensor {self.name!r}: data type {self.dtype!r} cannot cross a cut")
        if any(extent < 0 for extent in self.shape):
            raise ValueError(f"tensor {self.name!r}: shape {self.shape} is not static")
        if not (math.isfinite(self.scale) and self.scale >= 0.0):
            raise ValueError(f"tensor {self.name!r}: scale {self.scale} is not a finite number >= 0")

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * _ITEM_BYTES[self.dtype]

    @property
    def is_quantised(self) -> bool:
        return self.scale > 0.0

    def as_json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "scale": self.scale,
            "zero_point": self.zero_point,
            "bytes": self.bytes,
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "TensorSpec":
        return cls(
            name=str(fields["name"]),
            shape=tuple(int(extent) for extent in fields["shape"]),
            dtype=str(fields["dtype"]),
            scale=float(fields["scale"]),
            zero_point=int(fields["zero_point"]),
        )


def quantise(real: Array, spec: TensorSpec) -> Array:
    """Real values to the stored integers of `spec`: rounded to nearest even, saturated. Unquantised specs only cast."""
    if not spec.is_quantised:
        return real.astype(spec.dtype)
    limits = np.iinfo(spec.dtype)
    steps = np.rint(real / np.float32(spec.scale)) + spec.zero_point
    stored: Array = np.clip(steps, limits.min, limits.max).astype(spec.dtype)
    return stored


def dequantise(stored: Array, spec: TensorSpec) -> Array:
    """The real values (float32) that stored integers stand for. Unquantised tensors are only cast."""
    if not spec.is_quantised:
        return stored.astype(np.float32)
    real: Array = (stored.astype(np.float32) - np.float32(spec.zero_point)) * np.float32(spec.scale)
    return real


def decibels(signal: float, error: float) -> float:
    """Signal to error in dB, from the energies of both; infinite without any error."""
    if error == 0.0:
        return math.inf
    return 10 * math.log10(signal / error) if signal > 0.0 else -math.inf


@functools.cache
def little_endian(dtype: str) -> "np.dtype[Any]":
    little: np.dtype[Any] = np.dtype(dtype).newbyteorder("<")
    return little


def views(raw: bytes | memoryview, boundary: Sequence[TensorSpec]) -> tuple[Array, ...]:
    """The tensors of a boundary out of their bytes one after another, C order, little endian; nothing is copied."""
    arrays: list[Array] = []
    offset = 0
    for spec in boundary:
        flat: Array = np.frombuffer(raw, little_endian(spec.dtype), spec.elements, offset)
        arrays.append(flat.reshape(spec.shape))
        offset += flat.nbytes
    return tuple(arrays)


@functools.lru_cache(64)
def widened(boundary: tuple[TensorSpec, ...], inputs: int) -> tuple[TensorSpec, ...]:
    """The boundary of so many inputs at once: the leading 1 of each tensor becomes their number. ValueError for a
    tensor without one."""
    if inputs == 1:
        return boundary
    for spec in boundary:
        if spec.shape[:1] != (1,):
            raise ValueError(f"tensor {spec.name!r} of shape {spec.shape} has no leading 1 to hold {inputs} inputs")
    return tuple(replace(spec, shape=(inputs, *spec.shape[1:])) for spec in boundary)


def payload_bytes(boundary: Sequence[TensorSpec]) -> int:
    """Bytes of all tensors of a boundary, uncoded."""
    return sum([math.prod(spec.shape) * _ITEM_BYTES[spec.dtype] for spec in boundary])
