"""Pictures from files, at the size and with the channels that a model takes: the same pixels wherever they are read.

Resizing is bilinear over the area each output pixel covers (Pillow's BILINEAR). `preprocessing`
turns the pixels into the model's input.
"""

from pathlib import Path

import numpy as np

from tflsplit import errors, extras
from tflsplit.graph.tensors import Array

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff"})

_MOST_PIXELS = 1 << 26  # 8192 x 8192, some 200 MB while it is made smaller


def find(folder: Path) -> tuple[Path, ...]:
    """The pictures in a folder and the folders below it, in name order. DataError if there are none."""
    found = tuple(sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()))
    if not found:
        raise errors.DataError(f"{folder}: no pictures in it (looked for {', '.join(sorted(SUFFIXES))})")
    return found


def read(path: Path, shape: tuple[int, ...]) -> Array:
    """uint8 pixels of `shape` = (height, width, channels), channels 1 (grey) or 3 (RGB), from a picture file."""
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError as missing:
        raise errors.DeviceError(extras.need("reading pictures", "PIL")) from missing
    height, width, channels = picture_shape(shape, name=str(path))
    try:
        with Image.open(path) as opened:
            if opened.width * opened.height > _MOST_PIXELS:  # nothing is decoded yet
                raise errors.DataError(
                    f"{path}: a picture of {opened.width}x{opened.height} pixels, at most {_MOST_PIXELS:,} are read; "
                    "remove it, or make it smaller"
                )
            # A phone's picture says in its EXIF data how it must be turned.
            upright = ImageOps.exif_transpose(opened).convert("L" if channels == 1 else "RGB")
            resized = upright.resize((width, height), Image.Resampling.BILINEAR)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, Image.DecompressionBombWarning) as cause:
        raise errors.DataError(f"{path}: cannot be read as a picture ({cause}); remove or replace it") from cause
    return np.asarray(resized, np.uint8).reshape(height, width, channels)


def picture_shape(shape: tuple[int, ...], *, name: str) -> tuple[int, int, int]:
    """(height, width, channels) of a model input's shape, leading ones dropped.

    DataError, beginning with `name`, if such an input takes no picture.
    """
    extents = shape
    while len(extents) > 3 and extents[0] == 1:
        extents = extents[1:]
    if len(extents) != 3 or extents[2] not in (1, 3):
        raise errors.DataError(f"{name}: a model input of shape {shape} takes no picture; give .npy, .npz or .csv data")
    return extents[0], extents[1], extents[2]
