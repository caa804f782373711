"""Pictures from files, at the size and with the channels that a model takes: the same pixels wherever they are read.

`resizing` makes them as large as the model wants them, `preprocessing` turns the pixels into the model's input.
"""

import functools
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tflsplit import errors, extras, text
from tflsplit.graph.tensors import Array
from tflsplit.inputs import resizing
from tflsplit.inputs.resizing import Resize

_log = logging.getLogger(__name__)

_USUAL = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
SUFFIXES = frozenset({*_USUAL, ".jfif", ".jpe", ".avif", ".dib", ".jp2", ".pbm", ".pnm", ".tga"})
HEIC = frozenset({".heic", ".heif"})  # what phones write, and Pillow does not read
# Of cameras, drawing programs and newer browsers: Pillow reads none of them.
_OTHERS = frozenset({".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".jxl", ".psd", ".svg", ".exr", ".hdr"})
NOT_READ = HEIC | _OTHERS

_MOST_PIXELS = 1 << 26  # 8192 x 8192, some 200 MB while it is made smaller
_LEAST_SIDE = 16  # of a picture that is much longer than wide, as a line of text
_WHITE_16 = (1 << 16) - 1
_ORIENTATION = 0x0112  # the EXIF tag; these values of it turn a picture by a quarter
_LYING = (5, 6, 7, 8)


def find(folder: Path) -> tuple[Path, ...]:
    """The pictures in a folder and the folders below it, in name order; hidden ones are left out, and counted in the
    log. DataError if there are none, or some of a kind that is not read."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES | NOT_READ and path.is_file())
    files = tuple(path for path in found if not is_hidden(path.relative_to(folder)))
    hidden = len(found) - len(files)
    if not files:
        beside = f", but {text.counted(hidden, 'hidden one')}" if hidden else ""
        raise errors.DataError(f"{folder}: no pictures in it{beside} (looked for {', '.join(sorted(SUFFIXES))})")
    for path in files:
        if path.suffix.lower() in NOT_READ:
            raise _is_not_read(path)
    if hidden:
        _say_hidden(folder, hidden)
    return files


def is_hidden(path: Path) -> bool:
    """As `._a.png`, which macOS writes beside `a.png` on foreign disks and into archives, and which is no picture."""
    return any(map(is_hidden_name, path.parts))


def is_hidden_name(name: str) -> bool:
    """The same of one file or folder."""
    return name.startswith(".") or name == "__MACOSX"


@functools.lru_cache(64)  # a folder is looked through more than once, and this is said once
def _say_hidden(folder: Path, count: int) -> None:
    _log.info("hidden files left out folder=%s count=%d", folder, count)


def read(path: Path, shape: tuple[int, ...], resize: Resize = Resize.STRETCH) -> Array:
    """uint8 pixels of `shape` = (height, width, channels), channels 1 (grey) or 3 (RGB), from a picture file.

    Grey of 16 bits is scaled to 8; floats are taken as 0..1, or as 0..255 if one is above 1.
    """
    wanted = picture_shape(shape, name=str(path))
    return fitted(opened(path), wanted, resize, name=str(path))


def opened(source: Path | bytes, name: str = "") -> Any:
    """A picture file, or its bytes, as an upright Pillow picture of 8 bits, wholly decoded; DataError if it is none."""
    try:
        from PIL import Image, ImageOps
    except ImportError as missing:
        raise errors.DeviceError(extras.need("reading pictures", "PIL")) from missing
    name = name or str(source)
    try:
        with _quiet(), Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as found:
            if found.width * found.height > _MOST_PIXELS:  # nothing is decoded yet
                raise errors.DataError(
                    f"{name}: a picture of {found.width}x{found.height} pixels, at most {_MOST_PIXELS:,} are read; "
                    "remove it, or make it smaller"
                )
            # A phone's picture says in its EXIF data how it must be turned.
            return _of_8_bits(ImageOps.exif_transpose(found), name, found.format)
    except errors.DataError:
        raise
    except Exception as cause:  # what decoders raise for damaged files has no common class; it is the file's fault
        if isinstance(source, Path) and _holds_heic(source):
            raise _is_heic(source) from cause
        said = " ".join(str(cause).split()) or type(cause).__name__
        raise errors.DataError(f"{name}: cannot be read as a picture ({said}); remove or replace it") from cause


def fitted(picture: Any, shape: tuple[int, ...], resize: Resize = Resize.STRETCH, *, name: str) -> Array:
    """A Pillow picture, or RGB pixels of 8 bits as a camera gives them, at `shape`: what `read` makes of the same
    picture in a file."""
    try:
        from PIL import Image
    except ImportError as missing:
        raise errors.DeviceError(extras.need("a camera source", "PIL")) from missing
    whole = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    height, width, channels = picture_shape(shape, name=name)
    with _quiet():
        coloured = whole.convert("L" if channels == 1 else "RGB")
    return np.asarray(resizing.resized(coloured, (width, height), resize), np.uint8).reshape(height, width, channels)


def size(path: Path) -> tuple[int, int]:
    """Width and height of a picture file, upright. DataError for what is none."""
    from PIL import Image

    try:
        with _quiet(), Image.open(path) as opened:
            turned = opened.getexif().get(_ORIENTATION, 1) in _LYING
            return (opened.height, opened.width) if turned else (opened.width, opened.height)
    except Exception as cause:  # as in `read`
        raise errors.DataError(f"{path}: cannot be read as a picture; remove or replace it") from cause


def is_picture(shape: tuple[int, ...]) -> bool:
    """Whether a model's input has batch, height, width, and 1 or 3 channels, in the proportions of a picture."""
    return len(shape) == 4 and shape[-1] in (1, 3) and not _is_series(shape[1], shape[2])


def _is_series(height: int, width: int) -> bool:
    """A few values at many moments, as 49 x 10 of a spoken word or 1 x 128 of an acceleration."""
    short, long = sorted((height, width))
    return short < _LEAST_SIDE and long >= 3 * short


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing of what Pillow warns of or logs: a picture is read, or refused in our words."""
    logger = logging.getLogger("PIL")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _of_8_bits(picture: Any, name: str, kind: str | None) -> Any:
    """Grey of more bits as 8: Pillow's own conversion cuts off at 255."""
    from PIL import Image

    if picture.mode == "F":
        values = np.asarray(picture)
        if not (values.min() >= 0 and values.max() <= 255):  # NaN too
            raise errors.DataError(f"{name}: a picture of floats beyond 0..255; save it with 8 or 16 bits")
        return Image.fromarray(np.rint(values * (255 if values.max() <= 1 else 1)).astype(np.uint8))
    # Pillow opens .png and .pgm of 16 bits as 32; a .tiff of 32 bits has no highest grey that we know.
    if picture.mode.startswith("I"):
        values = np.asarray(picture).astype(np.int64)
        if (picture.mode == "I" and kind == "TIFF") or values.min() < 0 or values.max() > _WHITE_16:
            raise errors.DataError(f"{name}: a picture of 32-bit integers; save it with 8 or 16 bits")
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))
    return picture


def _holds_heic(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            start = stream.read(12)
    except OSError:
        return False
    # The brands of ISO/IEC 23008-12: `hei` are pictures, `hev` series of them, each of four profiles.
    return start[4:8] == b"ftyp" and (start[8:11] in (b"hei", b"hev") or start[8:12] in (b"mif1", b"msf1"))


def _is_heic(path: Path) -> errors.DataError:
    return errors.DataError(f"{path}: a HEIC picture, which is not read; save it as JPEG (`heif-convert`)")


def _is_not_read(path: Path) -> errors.DataError:
    """By its name, whatever it holds."""
    if path.suffix.lower() in HEIC:
        return _is_heic(path)
    return errors.DataError(f"{path}: a picture of a kind that is not read ({path.suffix}); save it as JPEG or PNG")


def picture_shape(shape: tuple[int, ...], *, name: str) -> tuple[int, int, int]:
    """(height, width, channels) of a model input's shape, leading ones dropped.

    DataError, beginning with `name`, if such an input takes no picture.
    """
    extents = shape
    while len(extents) > 3 and extents[0] == 1:
        extents = extents[1:]
    if not is_picture((1, *extents)):
        raise errors.DataError(f"{name}: a model input of shape {shape} takes no picture; give .npy, .npz or .csv data")
    return extents[0], extents[1], extents[2]
