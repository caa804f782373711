"""How many bytes pictures take as JPEG at a model's input size: what any cut's payload has to be compared with."""

import io
from pathlib import Path

from tflsplit import errors, pictures

# The mean over this many is good to a few per cent for pictures of one camera.
_PICTURES = 50


def mean_bytes(folder: Path, shape: tuple[int, ...], quality: int) -> float:
    """Over the first pictures of a folder, resized as an edge resizes them. DataError if there are none."""
    try:
        from PIL import Image
    except ImportError as missing:
        raise errors.DeviceError("coding pictures needs Pillow: pip install 'tflsplit[edge]'") from missing
    sizes = []
    for path in pictures.find(folder)[:_PICTURES]:
        pixels = pictures.read(path, shape)
        coded = io.BytesIO()
        Image.fromarray(pixels.squeeze()).save(coded, format="JPEG", quality=quality)
        sizes.append(len(coded.getvalue()))
    return sum(sizes) / len(sizes)
