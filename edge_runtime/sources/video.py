"""Network cameras and video files, by OpenCV, and whatever else gives frames without end.

Of a camera only the newest frame is kept, so that a slow head computes on what is there now; one that drops is opened
again, later each time, and counted.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edge_runtime.sources import camera
from edge_runtime.sources.captured import Capture
from tflsplit import errors

_log = logging.getLogger(__name__)

LOOK_S = 0.25
_OPENING_MS = 10_000
_READING_MS = 5_000  # a camera that says nothing for so long has dropped
_WAITS_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
_PATIENCE_S = 2.0  # for a read that is under way when the source is closed

Drop = Callable[[str], None]


def frames_of(file: Path, drop: Drop) -> Iterator[Any]:
    """Every frame of a video file in its order, as BGR."""
    video = opened(str(file))
    if video is None:
        raise errors.DataError(f"video:{file}: cannot be read as a video; is the file whole? give .mp4, .mkv or .avi")
    try:
        while (frame := _read(video)) is not None:
            if camera.is_colour(frame):
                yield frame
            else:
                drop("camera_frame")
    finally:
        video.release()


class NewestFrame:
    """The newest frame of a camera that `open_it` opens (None where it cannot), read on a thread of its own, and named
    `shown` in every message.
    DeviceError if it cannot be opened at first; afterwards it is waited for without end."""

    def __init__(self, open_it: Callable[[], Any], shown: str, waits_s: tuple[float, ...] = _WAITS_S) -> None:
        self.drop: Drop = lambda reason: None
        self._open, self._shown, self._waits_s = open_it, shown, waits_s
        self._newest: Capture | None = None
        self._changed = threading.Condition()
        self._is_closed = threading.Event()
        first = open_it()
        if first is None:
            raise errors.DeviceError(
                f"{shown} gives no pictures; is the camera on, and are address, user and password right?"
            )
        self._thread = threading.Thread(target=self._run, args=(first,), name="edge-camera", daemon=True)
        self._thread.start()

    def captures(self) -> Iterator[Capture | None]:
        """The newest frame that was not given yet; None where there is none."""
        while not self._is_closed.is_set():
            with self._changed:
                self._changed.wait_for(lambda: self._newest is not None, LOOK_S)
                taken, self._newest = self._newest, None
            yield taken

    def close(self) -> None:
        self._is_closed.set()
        self._thread.join(_PATIENCE_S)

    def _run(self, video: Any) -> None:
        failed = 0
        while not self._is_closed.is_set():
            if video is not None and self._read_all(video):
                failed = 0
            if self._is_closed.is_set():
                return
            if failed == 0:
                self.drop("stream_lost")
                _log.warning("camera lost source=%s", self._shown)
            self._is_closed.wait(self._waits_s[min(failed, len(self._waits_s) - 1)])
            failed += 1
            video = None if self._is_closed.is_set() else self._open()

    def _read_all(self, video: Any) -> bool:
        """Reads until it drops; whether a frame came."""
        came = False
        try:
            while not self._is_closed.is_set() and (frame := _read(video)) is not None:
                if not came:
                    _log.info("camera is there source=%s width=%d height=%d", self._shown, *frame.shape[1::-1])
                came = True
                self._keep(frame)
        finally:
            video.release()
        return came

    def _keep(self, frame: Any) -> None:
        if not camera.is_colour(frame):
            self.drop("camera_frame")
            return
        with self._changed:
            is_lost, self._newest = self._newest is not None, Capture(frame, time.time_ns())
            self._changed.notify_all()
        if is_lost:
            self.drop("stream_replaced")


def opened(place: str) -> Any:
    """None where it cannot be opened. What the library would print holds the address, password and all."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    cv2 = camera.opencv()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _OPENING_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _READING_MS]
    try:
        video = cv2.VideoCapture(place, cv2.CAP_FFMPEG, limits)
    except cv2.error:
        return None
    return video if video.isOpened() else None


def _read(video: Any) -> Any:
    try:
        is_read, frame = video.read()
    except camera.opencv().error:
        return None
    return frame if is_read else None
