"""TFLite metadata read back, by the numbers of the fields in tflite-support's metadata_schema.fbs."""

import io
import zipfile

from ai_edge_litert import schema_py_generated as schema
from flatbuffers import encode, number_types, table


class Table:
    """A table of a flatbuffer; fields are asked for by number, None where they were left out."""

    def __init__(self, data, place):
        self._table = table.Table(data, place)

    def _at(self, number):
        offset = self._table.Offset(4 + 2 * number)
        return None if offset == 0 else offset + self._table.Pos

    def text(self, number):
        at = self._at(number)
        return None if at is None else self._table.String(at).decode()

    def byte(self, number):
        at = self._at(number)
        return 0 if at is None else encode.Get(number_types.Uint8Flags.packer_type, self._table.Bytes, at)

    def table(self, number):
        at = self._at(number)
        return None if at is None else Table(self._table.Bytes, self._table.Indirect(at))

    def tables(self, number):
        return [Table(self._table.Bytes, self._table.Indirect(at)) for at in self._entries(number)]

    def floats(self, number):
        unpack = number_types.Float32Flags.packer_type
        return [encode.Get(unpack, self._table.Bytes, at) for at in self._entries(number)]

    def _entries(self, number):
        at = self._at(number)
        if at is None:
            return []
        offset = at - self._table.Pos
        start, count = self._table.Vector(offset), self._table.VectorLen(offset)
        return [start + 4 * place for place in range(count)]


def read(model):
    """The root of what lies in TFLITE_METADATA: ModelMetadata."""
    parsed = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(model), 0))
    (entry,) = [entry for entry in parsed.metadata if entry.name == b"TFLITE_METADATA"]
    data = bytes(parsed.buffers[entry.buffer].data)
    assert data[4:8] == b"M001"
    return Table(data, encode.Get(number_types.UOffsetTFlags.packer_type, data, 0))


def files(model):
    """The files behind the model, as any unzip finds them; each stored as it is, which LiteRT's reader asks for."""
    stream = io.BytesIO(model)
    if not zipfile.is_zipfile(stream):
        return {}
    with zipfile.ZipFile(stream) as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        return {name: archive.read(name).decode() for name in archive.namelist()}
