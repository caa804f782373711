"""Pictures of a camera, by OpenCV. A read that fails is tried again, later with the camera opened anew; a frame of
another kind is left out. Both are counted.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tflsplit import errors, extras

# 5.5 s in all: a USB bus that was reset is back by then, and no stop of the edge waits longer.
_WAITS_S = (0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0, 1.0)
_MOST_SKIPPED = 100  # one after the other, some seconds: such a camera gives nothing else

Drop = Callable[[str], None]


def opened(text: str) -> Any:
    """The camera of `camera:N`."""
    number = _number(text)
    camera: Any = opencv().VideoCapture(number)
    if not camera.isOpened():
        raise errors.DeviceError(f"camera {number} cannot be opened; is /dev/video{number} there and readable?")
    return camera


def _number(text: str) -> int:
    number = text.removeprefix("camera:")
    if not number.isdecimal():
        raise errors.SettingsError(f"source {text!r}: write camera:N with the camera's number, as camera:0")
    return int(number)


def opencv() -> Any:
    try:
        import cv2
    except ImportError as missing:
        raise errors.DeviceError(extras.need("a camera source", "cv2")) from missing
    return cv2


def pictures(camera: Any, name: str, drop: Drop, wait: Callable[[float], object] = time.sleep) -> Iterator[Any]:
    """BGR pictures of 8 bits without end. `drop` is called with `camera_read` for each read that failed and with
    `camera_frame` for each frame of another kind. DeviceError if nothing else comes."""
    failed = skipped = 0
    while True:
        try:
            is_read, picture = camera.read()
        except opencv().error:
            is_read, picture = False, None
        if not is_read:
            drop("camera_read")
            if failed == len(_WAITS_S):
                raise errors.DeviceError(f"{name} gives no more pictures; was it unplugged?")
            wait(_WAITS_S[failed])
            failed += 1
            if failed > 1:  # one that was unplugged and is back has to be opened again
                camera.open(_number(name))
            continue
        failed = 0
        if is_colour(picture):
            skipped = 0
            yield picture
            continue
        drop("camera_frame")
        skipped += 1
        if skipped == _MOST_SKIPPED:
            raise errors.DeviceError(f"{name} gives {_kind(picture)}; expected colour pictures of 8 bits")


def is_colour(picture: Any) -> bool:
    """Whether OpenCV gave a colour picture of 8 bits."""
    is_array = isinstance(picture, np.ndarray) and picture.dtype == np.uint8
    return is_array and picture.ndim == 3 and picture.shape[2] == 3 and picture.size > 0


def _kind(picture: Any) -> str:
    if isinstance(picture, np.ndarray):
        return f"{picture.dtype} frames of shape {picture.shape}"
    return "nothing in its frames"
