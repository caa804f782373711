"""Network cameras and video files, by PyAV, and whatever else gives frames without end.

Of a camera only the newest frame is kept, so that a slow head computes on what is there now; one that drops is opened
again, later each time, and counted.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edge_runtime.sources.captured import Capture
from tflsplit import errors, extras
from tflsplit.graph.tensors import Array

_log = logging.getLogger(__name__)

LOOK_S = 0.25
_OPENING_S = 10.0
_READING_S = 5.0  # a camera that says nothing for so long has dropped
_WAITS_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
_PATIENCE_S = 2.0  # for a read that is under way when the source is closed

Drop = Callable[[str], None]


class Stream(Protocol):
    """An opened camera or file."""

    def frames(self, drop: Drop) -> Iterator[Array]:
        """RGB pixels until it ends or drops; what cannot be decoded counts as `camera_frame`."""

    def release(self) -> None: ...


def frames_of(file: Path, drop: Drop) -> Iterator[Array]:
    """Every frame of a video file in its order, as RGB."""
    video = opened(str(file))
    if video is None:
        raise errors.DataError(f"video:{file}: cannot be read as a video; is the file whole? give .mp4, .mkv or .avi")
    try:
        yield from video.frames(drop)
    finally:
        video.release()


class NewestFrame:
    """The newest frame of a camera that `open_it` opens (None where it cannot), read on a thread of its own, and named
    `shown` in every message.
    DeviceError if it cannot be opened at first; afterwards it is waited for without end."""

    def __init__(self, open_it: Callable[[], Stream | None], shown: str) -> None:
        self.drop: Drop = lambda reason: None
        self._open, self._shown = open_it, shown
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

    def _run(self, video: Stream | None) -> None:
        failed = 0
        while not self._is_closed.is_set():
            if video is not None and self._read_all(video):
                failed = 0
            if self._is_closed.is_set():
                break
            if failed == 0:
                self.drop("stream_lost")
                _log.warning("camera lost source=%s", self._shown)
            if video is not None:  # a camera that hangs is not heard from here either, for some seconds
                video.release()
            self._is_closed.wait(_WAITS_S[min(failed, len(_WAITS_S) - 1)])
            failed += 1
            video = None if self._is_closed.is_set() else self._open()
        if video is not None:
            video.release()

    def _read_all(self, video: Stream) -> bool:
        """Reads until it drops; whether a frame came."""
        size: tuple[int, ...] = ()
        for frame in video.frames(lambda reason: self.drop(reason)):  # noqa: PLW0108 - it is replaced while this runs
            if frame.shape != size:
                size = frame.shape
                _log.info("camera is there source=%s width=%d height=%d", self._shown, *size[1::-1])
            self._keep(frame)
            if self._is_closed.is_set():
                break
        return bool(size)

    def _keep(self, frame: Array) -> None:
        with self._changed:
            is_lost, self._newest = self._newest is not None, Capture(frame, time.time_ns())
            self._changed.notify_all()
        if is_lost:
            self.drop("stream_replaced")


def opened(place: str) -> Stream | None:
    """None where it cannot be opened. What the library says of that holds the address, password and all."""
    try:
        import av
    except ImportError as missing:
        raise errors.DeviceError(extras.need("a network camera or a video", "av")) from missing
    options = {"rtsp_transport": "tcp"} if place.startswith("rtsp") else {}
    try:
        container = av.open(place, options=options, timeout=(_OPENING_S, _READING_S))
    except av.FFmpegError:
        return None
    stream = container.streams.best("video")
    if stream is None:
        container.close()
        return None
    return _Container(container, stream, av.FFmpegError)


class _Container:
    def __init__(self, container: Any, stream: Any, failure: type[Exception]) -> None:
        self._container, self._stream, self._failure = container, stream, failure

    def frames(self, drop: Drop) -> Iterator[Array]:
        packets = self._container.demux(self._stream)
        while (packet := self._next(packets)) is not None:
            try:
                decoded = packet.decode()
            except self._failure:
                drop("camera_frame")
                continue
            for frame in decoded:
                # What a phone says of how it was held, as quarters against the clock.
                yield np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)))

    def release(self) -> None:
        with contextlib.suppress(self._failure):
            self._container.close()

    def _next(self, packets: Iterator[Any]) -> Any:
        """None at the end, and where the other side is gone or silent."""
        with contextlib.suppress(self._failure):
            return next(packets, None)
        return None
