"""Maps over the picture: the class of each place, the shares that classes take, and the peaks of heat maps."""

import struct
import zlib

import numpy as np

from tflsplit import errors
from tflsplit.decoding.forms import Decoding, Form
from tflsplit.graph.tensors import Array
from tflsplit.inputs.resizing import Placement

PNG = b"\x89PNG\r\n\x1a\n"  # how each begins
_MOST_COLOURS = 256
_EIGHT_BITS_OF_PALETTE = (8, 3, 0, 0, 0)  # depth, colours by a palette; deflate, usual filters, not interlaced


def classes(part: Array, decoding: Decoding) -> Array:
    """The class of each place (height, width)."""
    plane = part.reshape(part.shape[1:])
    if decoding.form is Form.SCORES:
        return np.asarray(np.argmax(plane, axis=-1))
    return np.asarray(plane.reshape(plane.shape[:2]), np.int64)


def of_source(found: Array, placement: Placement) -> Array:
    """The part of a map that shows the source's picture; without what a letterbox added."""
    height, width = found.shape
    left, right = (round(edge * width) for edge in placement.seen_x)
    top, bottom = (round(edge * height) for edge in placement.seen_y)
    return found[top : max(bottom, top + 1), left : max(right, left + 1)]


def shares(found: Array) -> list[tuple[int, float]]:
    """Of each class that is there, the largest first."""
    numbers, counts = np.unique(found, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [(int(numbers[place]), float(counts[place]) / found.size) for place in order]


def peaks(part: Array) -> Array:
    """(keypoints, 3): x and y as fractions, and the score, where each heat map is highest."""
    maps = part.reshape(part.shape[1:])
    height, width, count = maps.shape
    flat = maps.reshape(-1, count)
    places = np.argmax(flat, axis=0)
    x, y = (places % width + 0.5) / width, (places // width + 0.5) / height
    return np.stack((x, y, flat[places, np.arange(count)]), axis=1)


def png(mask: Array) -> bytes:
    """A mask as PNG whose pixels are the numbers of classes, in the colours that PASCAL VOC gives them."""
    if mask.size and not 0 <= mask.min() <= mask.max() < _MOST_COLOURS:
        raise errors.DataError(f"a mask with class {int(mask.max())}: a PNG holds numbers up to {_MOST_COLOURS - 1}")
    (height, width), most = mask.shape, int(mask.max(initial=0))
    rows = np.zeros((height, 1 + width), np.uint8)  # each begins with its filter: 0, none, the best for a palette
    rows[:, 1:] = mask
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, *_EIGHT_BITS_OF_PALETTE)),
        (b"PLTE", bytes(value for number in range(most + 1) for value in _colour(number))),
        (b"IDAT", zlib.compress(rows.tobytes())),
        (b"IEND", b""),
    )
    return PNG + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def _colour(number: int) -> tuple[int, int, int]:
    """The bits of the number go to red, green and blue in turn, the lowest to their highest."""
    shades = [0, 0, 0]
    for bit in range(8):
        shades[bit % 3] |= (number >> bit & 1) << (7 - bit // 3)
    return shades[0], shades[1], shades[2]
