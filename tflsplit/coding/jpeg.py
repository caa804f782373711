"""Pixels as JPEG and back: the door to Pillow's coder, for the frames of an edge and the sizes that a plan counts.

Lossy. Coding is Pillow's: baseline, colours at half the resolution (4:2:0). What arrives from a network is decoded only
once its header says exactly the expected picture, so that it costs no more memory than that picture.
"""

import io
import struct
from pathlib import Path
from typing import Any

from tflsplit import errors, extras
from tflsplit.coding.feature_codec import Buffer, CodecId
from tflsplit.inputs import pictures

# Pillow's own advice: above 95 files grow and pictures do not get better.
QUALITIES = range(1, 96)
# The mean size of this many is good to a few per cent for pictures of one camera.
_PICTURES = 50
_MODES = {1: "L", 3: "RGB"}
# What Pillow raises on damaged JPEG files. Its parser unpacks fields that may be missing or out of range.
_DAMAGED = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error)


class Jpeg:
    """Codes the pixels (uint8, C order) of pictures of one shape: (height, width, channels), grey or RGB."""

    id = CodecId.JPEG

    def __init__(self, shape: tuple[int, int, int], quality: int) -> None:
        if quality not in QUALITIES:
            raise errors.SettingsError(f"JPEG of quality {quality}: give {QUALITIES[0]} to {QUALITIES[-1]}")
        self._image, _ = _pillow()
        self._shape = shape
        self._quality = quality

    def encode(self, raw: Buffer) -> Buffer:
        height, width, channels = self._shape
        coded = io.BytesIO()
        self._image.frombytes(_MODES[channels], (width, height), raw).save(coded, "JPEG", quality=self._quality)
        return coded.getvalue()


def decode(coded: Buffer, shape: tuple[int, int, int]) -> bytes:
    """The pixels of a baseline JPEG of exactly `shape` = (height, width, 1 or 3 channels); FrameError for others."""
    _, plugin = _pillow()
    height, width, channels = shape
    try:
        # Not Image.open: it would try what else the bytes might be.
        with plugin.JpegImageFile(io.BytesIO(coded)) as opened:
            if opened.size != (width, height) or opened.mode != _MODES[channels]:
                raise errors.FrameError(
                    f"JPEG of {opened.width}x{opened.height} pixels ({opened.mode}), "
                    f"expected {width}x{height} ({_MODES[channels]})"
                )
            if "progressive" in opened.info:
                # Each of its scans, which may be thousands, costs a pass over the whole picture.
                raise errors.FrameError("JPEG is progressive, expected a baseline one")
            pixels: bytes = opened.tobytes()
    except _DAMAGED as problem:
        raise errors.FrameError(f"JPEG payload is damaged: {' '.join(str(problem).split())}") from problem
    return pixels


def mean_bytes(folder: Path, shape: tuple[int, ...], quality: int) -> float:
    """The mean size of a folder's first pictures, resized as an edge resizes them. DataError if there are none."""
    coder = Jpeg(pictures.picture_shape(shape, name=str(folder)), quality)
    sizes = [len(coder.encode(pictures.read(path, shape).data)) for path in pictures.find(folder)[:_PICTURES]]
    return sum(sizes) / len(sizes)


def _pillow() -> tuple[Any, Any]:
    try:
        from PIL import Image, JpegImagePlugin
    except ImportError as missing:
        raise errors.DeviceError(extras.need("coding pictures", "PIL")) from missing
    return Image, JpegImagePlugin
