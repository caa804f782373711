"""How many bytes pictures take as JPEG at a model's input size: what any cut's payload has to be compared with."""

from pathlib import Path

from tflsplit.coding import jpeg
from tflsplit.inputs import pictures

# The mean over this many is good to a few per cent for pictures of one camera.
_PICTURES = 50


def mean_bytes(folder: Path, shape: tuple[int, ...], quality: int) -> float:
    """Over the first pictures of a folder, resized as an edge resizes them. DataError if there are none."""
    coder = jpeg.Jpeg(pictures.picture_shape(shape, name=str(folder)), quality)
    sizes = [len(coder.encode(pictures.read(path, shape).data)) for path in pictures.find(folder)[:_PICTURES]]
    return sum(sizes) / len(sizes)
