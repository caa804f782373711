"""How a picture of any size becomes as large as a model wants it: one function for calibration, files and cameras.

`stretch` changes its proportions. `crop` takes the largest middle part of the wanted proportions, as Teachable Machine
does; `letterbox` shows all of it, with grey at two edges, as YOLO does. Resizing is Pillow's BILINEAR.
"""

from enum import Enum
from typing import Any, NamedTuple

from tflsplit import arguments

_GREY = 114  # Ultralytics' own, which its models saw in training


class Resize(str, Enum):
    STRETCH = "stretch"
    CROP = "crop"
    LETTERBOX = "letterbox"


def parse(text: str) -> Resize:
    return Resize(arguments.one_of(text, [each.value for each in Resize], "resize"))


class Placement(NamedTuple):
    """Where the source's picture stands in the model's, as fractions of that: it may reach beyond."""

    left: float = 0.0
    top: float = 0.0
    width: float = 1.0
    height: float = 1.0

    def to_source(self, x: float, y: float) -> tuple[float, float]:
        """A place in the model's picture as fractions of the source's."""
        return (x - self.left) / self.width, (y - self.top) / self.height

    @property
    def seen_x(self) -> tuple[float, float]:
        """From where to where across the model's picture the source is seen."""
        return max(self.left, 0.0), min(self.left + self.width, 1.0)

    @property
    def seen_y(self) -> tuple[float, float]:
        return max(self.top, 0.0), min(self.top + self.height, 1.0)


WHOLE = Placement()


def placed(size: tuple[int, int] | None, wanted: tuple[int, int], resize: Resize) -> Placement:
    """Of a source of `size` = (width, height), None where its pixels are the model's, in a picture of that `wanted`."""
    if resize is Resize.STRETCH or size is None:
        return WHOLE
    if resize is Resize.LETTERBOX:
        left, top, width, height = _inner(size, wanted)
        return Placement(left / wanted[0], top / wanted[1], width / wanted[0], height / wanted[1])
    x0, y0, x1, y1 = _middle(size, wanted)
    across, down = size[0] / (x1 - x0), size[1] / (y1 - y0)
    return Placement(-x0 / size[0] * across, -y0 / size[1] * down, across, down)


def resized(picture: Any, wanted: tuple[int, int], resize: Resize) -> Any:
    """A Pillow picture, grey or RGB, at `wanted` = (width, height)."""
    from PIL import Image

    bilinear = Image.Resampling.BILINEAR
    if resize is Resize.STRETCH:
        return picture.resize(wanted, bilinear)
    if resize is Resize.CROP:
        return picture.resize(wanted, bilinear, box=_middle(picture.size, wanted))
    left, top, width, height = _inner(picture.size, wanted)
    framed = Image.new(picture.mode, wanted, _GREY if picture.mode == "L" else (_GREY,) * 3)
    framed.paste(picture.resize((width, height), bilinear), (left, top))
    return framed


def _middle(size: tuple[int, int], wanted: tuple[int, int]) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of the part that has the wanted proportions."""
    shrink = min(size[0] / wanted[0], size[1] / wanted[1])
    width, height = wanted[0] * shrink, wanted[1] * shrink
    left, top = (size[0] - width) / 2, (size[1] - height) / 2
    return left, top, left + width, top + height


def _inner(size: tuple[int, int], wanted: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, width and height of all of it in whole pixels, rounded as Ultralytics' LetterBox rounds."""
    scale = min(wanted[0] / size[0], wanted[1] / size[1])
    width, height = (max(1, round(extent * scale)) for extent in size)
    left, top = (round((room - extent) / 2 - 0.1) for room, extent in zip(wanted, (width, height), strict=True))
    return left, top, width, height
