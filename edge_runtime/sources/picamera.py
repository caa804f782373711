"""A camera of a Raspberry Pi, by picamera2, which Raspberry Pi OS brings and no extra can: it goes with the system's
own libcamera.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from tflsplit import errors
from tflsplit.graph.tensors import Array


class _Camera:
    """What `video` reads: frames as RGB."""

    def __init__(self, camera: Any) -> None:
        self._camera = camera

    def frames(self, drop: Callable[[str], None]) -> Iterator[Array]:
        with contextlib.suppress(RuntimeError):  # what libcamera's binding raises for a camera that is gone
            while True:
                yield self._camera.capture_array("main")

    def release(self) -> None:
        self._camera.stop()
        self._camera.close()


def opened(number: int) -> Any:
    """None where there is no such camera, or another program has it."""
    try:
        import picamera2
    except ImportError as missing:
        raise errors.DeviceError(
            f"picamera:{number}: picamera2 is not there: sudo apt install python3-picamera2, and make the environment "
            "with python3 -m venv --system-site-packages"
        ) from missing
    try:
        camera = picamera2.Picamera2(number)
        # Named by libcamera after the number that holds a pixel: in memory the bytes are R, G, B.
        camera.configure(camera.create_video_configuration(main={"format": "BGR888"}))
        camera.start()
    except (IndexError, RuntimeError):
        return None
    return _Camera(camera)
