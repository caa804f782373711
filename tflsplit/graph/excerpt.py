"""One operator of a `.tflite` file as a model of its own, without a schema to read the file by.

tflite-runtime brings none. So the file stays as it is, but for three fields of its main subgraph (schema.fbs, table
SubGraph): `inputs` and `outputs` point to new lists at the end of the file, and `operators` into the old list, where
the place before the operator becomes the length 1.
"""

import struct
from collections.abc import Sequence

from tflsplit import errors

_SUBGRAPHS = 2  # field of Model
_INPUTS, _OUTPUTS, _OPERATORS = 1, 2, 3  # fields of SubGraph


def operator(model: bytes, index: int, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
    """The model that runs operator `index` alone, from the tensors `inputs` to the tensors `outputs`. ModelError for
    what is no such file."""
    data = bytearray(model)
    try:
        root = _follow(data, 0)
        subgraphs = _follow(data, _field(data, root, _SUBGRAPHS))
        subgraph = _follow(data, subgraphs + 4)
        place = _field(data, subgraph, _OPERATORS)
        operators = _follow(data, place)
        if not 0 <= index < _number(data, operators):
            raise errors.ModelError(f"no operator {index} in {_number(data, operators)}")
        struct.pack_into("<I", data, operators + 4 * index, 1)
        struct.pack_into("<I", data, place, operators + 4 * index - place)
        for field, tensors in ((_INPUTS, inputs), (_OUTPUTS, outputs)):
            data += b"\0" * (-len(data) % 4)
            at = _field(data, subgraph, field)
            struct.pack_into("<I", data, at, len(data) - at)
            data += struct.pack(f"<I{len(tensors)}i", len(tensors), *tensors)
    except struct.error as cause:
        raise errors.ModelError(f"no TensorFlow Lite file: {cause}") from cause
    return bytes(data)


def _number(data: bytearray, at: int) -> int:
    return int(struct.unpack_from("<I", data, at)[0])


def _follow(data: bytearray, at: int) -> int:
    return at + _number(data, at)


def _field(data: bytearray, table: int, field: int) -> int:
    """Where a field of a table lies; ModelError for one that was left out."""
    fields = table - int(struct.unpack_from("<i", data, table)[0])
    size = int(struct.unpack_from("<H", data, fields)[0])
    offset = int(struct.unpack_from("<H", data, fields + 4 + 2 * field)[0]) if 4 + 2 * field < size else 0
    if offset == 0:
        raise errors.ModelError(f"a table without field {field}, which every model has")
    return table + offset
