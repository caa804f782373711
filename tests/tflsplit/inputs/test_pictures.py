"""Pictures whose size would take all memory are refused by what their first bytes say."""

import struct
import zlib

import pytest
from PIL import Image

from tflsplit import errors
from tflsplit.inputs import pictures


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def jpeg(width, height):
    frame = struct.pack(">BHHB", 8, height, width, 1) + b"\x01\x11\x00"
    return b"\xff\xd8\xff\xc0" + struct.pack(">H", len(frame) + 2) + frame + b"\xff\xd9"


@pytest.mark.parametrize(
    "data",
    [png(9_000, 9_000), png(100_000, 100_000), png(2**31 - 1, 2**31 - 1), jpeg(9_000, 9_000), jpeg(65_000, 65_000)],
)
def test_a_picture_of_gigapixels_is_refused_before_it_is_decoded(tmp_path, data):
    (tmp_path / "huge.png").write_bytes(data)
    with pytest.raises(errors.DataError, match=r"huge\.png: .*pixels"):
        pictures.read(tmp_path / "huge.png", (8, 8, 3))


def test_a_picture_of_a_phone_is_read(tmp_path):
    Image.new("RGB", (4000, 3000), (10, 20, 30)).save(tmp_path / "phone.jpg")
    assert pictures.read(tmp_path / "phone.jpg", (8, 8, 3)).shape == (8, 8, 3)
