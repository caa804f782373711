"""TFLite metadata: what a `.tflite` says of itself to other tools, as LiteRT's and tflite-support's readers read it.

A flatbuffer of its own schema (metadata_schema.fbs of tflite-support) lies in a buffer of the model, and the files that
it names are in a zip behind the model, uncompressed, which any unzip opens. This module owns neither format; it writes
the few tables that it needs by their numbers.
"""

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from tflsplit.values.classes import dataclass, field

NAME = b"TFLITE_METADATA"
_IDENTIFIER = b"M001"
_FIRST_PARSER = "1.0.0"  # which knows all of these tables
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # a zip's first day: the same model gives the same bytes
# Members of the schema's unions and enums.
_IMAGE, _NORMALIZATION, _RGB, _GREY = 2, 1, 1, 2
_DESCRIPTIONS, _AXIS_LABELS = 1, 2

_Value: TypeAlias = "str | int | list[float] | list[_Table] | _Table"


@dataclass(frozen=True, slots=True)
class _Table:
    """Fields by their number in the schema; an int is one byte."""

    fields: Mapping[int, _Value]


@dataclass(frozen=True, slots=True)
class Input:
    """Pixels become real values by (pixel - mean) / std, per channel or for all; `channels` is None for no picture."""

    name: str
    channels: int | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    description: str = ""


@dataclass(frozen=True, slots=True)
class Output:
    """`labels` are a file that names what lies along its axis of classes, None without one."""

    name: str
    labels: str | None = None


@dataclass(frozen=True, slots=True)
class Description:
    """Of a model in its file. `files` are texts by their names; those that no output names belong to the model."""

    name: str
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    files: Mapping[str, str] = field(default_factory=dict)


def flatbuffer(described: Description) -> bytes:
    """What lies in the buffer called TFLITE_METADATA."""
    import flatbuffers

    inputs, outputs = [_input(each) for each in described.inputs], [_output(each) for each in described.outputs]
    fields: dict[int, _Value] = {0: described.name, 3: [_Table({2: inputs, 3: outputs})], 7: _FIRST_PARSER}
    others = sorted(set(described.files) - {each.labels for each in described.outputs})
    if others:
        fields[6] = [_file(name, _DESCRIPTIONS) for name in others]
    builder = flatbuffers.Builder(1024)
    builder.Finish(_written(builder, _Table(fields)), _IDENTIFIER)
    return bytes(builder.Output())


def with_files(model: bytes, described: Description) -> bytes:
    """The model with the description's files behind it."""
    if not described.files:
        return model
    stream = io.BytesIO(model)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        for name, content in described.files.items():
            archive.writestr(zipfile.ZipInfo(name, _LONG_AGO), content)
    return stream.getvalue()


def _input(described: Input) -> _Table:
    fields: dict[int, _Value] = {0: described.name}
    if described.description:
        fields[1] = described.description
    if described.channels in (1, 3):
        fields[3] = _Table({0: _IMAGE, 1: _Table({0: _RGB if described.channels == 3 else _GREY})})
    if described.mean:
        scaling = _Table({0: list(described.mean), 1: list(described.std)})
        fields[4] = [_Table({0: _NORMALIZATION, 1: scaling})]
    return _Table(fields)


def _output(described: Output) -> _Table:
    fields: dict[int, _Value] = {0: described.name}
    if described.labels is not None:
        fields[6] = [_file(described.labels, _AXIS_LABELS)]
    return _Table(fields)


def _file(name: str, kind: int) -> _Table:
    return _Table({0: name, 2: kind})


def _written(builder: Any, table: _Table) -> int:
    """The table's place; what it points to has to be written before it."""
    places = {
        number: value if isinstance(value, int) else _placed(builder, value) for number, value in table.fields.items()
    }
    builder.StartObject(max(places, default=-1) + 1)
    for number, place in places.items():
        if isinstance(table.fields[number], int):
            builder.PrependUint8Slot(number, place, 0)
        else:
            builder.PrependUOffsetTRelativeSlot(number, place, 0)
    return int(builder.EndObject())


def _placed(builder: Any, value: "str | Sequence[float] | Sequence[_Table] | _Table") -> int:
    if isinstance(value, str):
        return int(builder.CreateString(value))
    if isinstance(value, _Table):
        return _written(builder, value)
    items = [_written(builder, each) if isinstance(each, _Table) else each for each in value]
    builder.StartVector(4, len(items), 4)
    for item in reversed(items):
        (builder.PrependFloat32 if isinstance(item, float) else builder.PrependUOffsetTRelative)(item)
    return int(builder.EndVector())
