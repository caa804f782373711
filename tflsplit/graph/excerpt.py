"""Some operators of a `.tflite` file as a model of their own, without a schema to read the file by.

tflite-runtime brings none, and writing a file of thousands of operators anew takes a third of a second. So the file
stays as it is, but for three fields of its main subgraph (schema.fbs, table SubGraph): `inputs` and `outputs` point to
new lists at the end of the file, and `operators` into the old list, where the place before the first operator becomes
the length.
"""

import struct
from collections.abc import Sequence

from tflsplit import errors

_SUBGRAPHS = 2  # field of Model
_INPUTS, _OUTPUTS, _OPERATORS = 1, 2, 3  # fields of SubGraph


def operator(model: bytes, index: int, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
    """The model that runs operator `index` alone, from the tensors `inputs` to the tensors `outputs`. ModelError for
    what is no such file."""
    return operators(model, index, index + 1, inputs, outputs)


def operators(model: bytes, start: int, stop: int, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
    """The same of the operators `start:stop`, of which there is one at least."""
    data = bytearray(model)
    try:
        root = _follow(data, 0)
        subgraphs = _follow(data, _field(data, root, _SUBGRAPHS))
        subgraph = _follow(data, subgraphs + 4)
        place = _field(data, subgraph, _OPERATORS)
        listed = _follow(data, place)
        if not 0 <= start < stop <= _number(data, listed):
            raise errors.ModelError(f"no operators {start} to {stop - 1} in {_number(data, listed)}")
        struct.pack_into("<I", data, listed + 4 * start, stop - start)
        struct.pack_into("<I", data, place, listed + 4 * start - place)
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
