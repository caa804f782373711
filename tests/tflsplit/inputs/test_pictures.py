"""Pictures of every depth are read rightly; damaged and oversized ones are refused by name, and quietly."""

import struct
import zlib

import numpy as np
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


RAMP = np.linspace(0, 65535, 48).reshape(6, 8)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("a.png", RAMP.astype(np.uint16)),
        ("a.pgm", RAMP.astype(np.uint16)),
        ("a.tiff", RAMP.astype(np.uint16)),
        ("unit.tiff", (RAMP / 65535).astype(np.float32)),
        ("bytes.tiff", (RAMP / 257).astype(np.float32)),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_grey_of_more_than_8_bits_keeps_its_greys(tmp_path, name, values, channels):
    Image.fromarray(values).save(tmp_path / name)
    found = pictures.read(tmp_path / name, (6, 8, channels))

    assert np.abs(found - RAMP[..., None] / 257).max() <= 0.51  # rounded to the nearest of 256


@pytest.mark.parametrize("values", [np.full((6, 8), np.nan), np.full((6, 8), -1.0), np.full((6, 8), 300.0)])
def test_floats_beyond_pixels_are_refused(tmp_path, values):
    Image.fromarray(values.astype(np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(errors.DataError, match=r"a\.tiff: a picture of floats beyond 0\.\.255"):
        pictures.read(tmp_path / "a.tiff", (6, 8, 3))


def test_integers_of_32_bits_are_refused(tmp_path):
    Image.fromarray(np.ones((6, 8), np.int32)).save(tmp_path / "a.tiff")
    with pytest.raises(errors.DataError, match="32-bit integers"):
        pictures.read(tmp_path / "a.tiff", (6, 8, 3))


def refusal(path):
    try:
        pictures.read(path, (8, 8, 3))
    except errors.DataError as error:
        return str(error)
    return None


@pytest.mark.parametrize("kind", ["png", "jpg", "bmp", "gif", "webp", "ppm", "pgm", "tiff"])
def test_damaged_pictures_are_read_or_refused_by_name_without_a_warning(tmp_path, capfd, kind):
    random = np.random.default_rng(0)
    picture = Image.fromarray(random.integers(0, 256, (20, 30, 3), dtype=np.uint8))
    path = tmp_path / f"a.{kind}"
    picture.convert("L" if kind == "pgm" else "RGB").save(path)
    sound = path.read_bytes()
    refused = 0
    for _ in range(150):
        data = bytearray(sound[: random.integers(0, len(sound))] if random.random() < 0.5 else sound)
        for _ in range(random.integers(0, 6)):
            if data:
                data[random.integers(0, min(len(data), 200))] = random.integers(0, 256)
        path.write_bytes(data)
        said = refusal(path)
        refused += said is not None
        assert said is None or said.startswith(f"{path}: ")
    assert refused > 20
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("brand", [b"heic", b"hevx", b"msf1"])
def test_pictures_of_phones_that_are_not_read_are_named(tmp_path, brand):
    heic = b"\0\0\0\x18ftyp" + brand + bytes(100)
    (tmp_path / "a.jpg").write_bytes(heic)
    with pytest.raises(errors.DataError, match=r"a\.jpg: a HEIC picture"):
        pictures.read(tmp_path / "a.jpg", (8, 8, 3))
    (tmp_path / "B.HEIC").write_bytes(heic)
    with pytest.raises(errors.DataError, match=r"B\.HEIC: a HEIC picture"):
        pictures.find(tmp_path)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_cameras_picture_becomes_what_the_same_picture_in_a_file_does(tmp_path, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (37, 61, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    shape = (1, 12, 20, channels)

    taken = pictures.fitted(pixels, shape, name="camera:0")
    assert taken.tolist() == pictures.read(tmp_path / "x.png", shape).tolist()


def _folder(tmp_path, *names):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name, "jpeg" if name.endswith("jfif") else None)
    return tmp_path


def test_all_kinds_of_pictures_that_are_read_are_found(tmp_path):
    names = ("a.jfif", "b.avif", "c.jp2", "d.tga", "e.pbm", "f/g.png")
    found = pictures.find(_folder(tmp_path, *names))
    assert [str(path.relative_to(tmp_path)) for path in found] == list(names)
    assert all(pictures.read(path, (8, 8, 3)).shape == (8, 8, 3) for path in found)


def test_hidden_files_are_left_out_and_counted(tmp_path, caplog):
    folder = _folder(tmp_path, "a.png")
    for name in ("._a.png", "__MACOSX/a.png", ".trash/b.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"\0\5\x16\7")
    with caplog.at_level("INFO"):
        assert pictures.find(folder) == (folder / "a.png",)
    assert caplog.messages == [f"hidden files left out folder={folder} count=3"]
    (folder / "a.png").unlink()
    with pytest.raises(errors.DataError, match="no pictures in it, but 3 hidden ones"):
        pictures.find(folder)


@pytest.mark.parametrize("name", ["b.CR2", "b.jxl", "b.svg"])
def test_pictures_of_kinds_that_are_not_read_are_named(tmp_path, name):
    (_folder(tmp_path, "a.png") / name).write_bytes(b"x")
    with pytest.raises(errors.DataError, match=rf"{name}: a picture of a kind that is not read .*; save it as JPEG"):
        pictures.find(tmp_path)
