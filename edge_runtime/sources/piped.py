"""Pictures from standard input: JPEG and PNG one behind the other, as `ffmpeg -f image2pipe` and `-f mjpeg` write them,
or any picture file behind its length in four bytes, the highest first.
"""

import logging
import os
import re
import select
import time
from collections.abc import Callable, Iterator

from edge_runtime.sources.captured import Capture
from tflsplit import errors
from tflsplit.inputs import pictures

_log = logging.getLogger(__name__)

LOOK_S = 0.25
_READ_BYTES = 1 << 16
_MOST_BYTES = 1 << 26  # of one picture; no length up to it looks like the beginning of a JPEG or PNG
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_BEGINNING = re.compile(re.escape(_PNG) + b"|" + _JPEG)
# In the coded part of a JPEG: not a stuffed byte, a restart, or a fill byte.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_BARE = frozenset((0x01, 0xD8, *range(0xD0, 0xD8)))  # markers without a segment
_SCAN = 0xDA


class Splitter:
    """Cuts a stream of bytes into picture files. None stands for bytes that belong to none."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._at = 0  # how far the picture at the beginning has been followed
        self._is_scan = False

    def feed(self, data: bytes) -> Iterator[bytes | None]:
        self._held += data
        while self._held:
            if self._held.startswith(_JPEG):
                end = self._jpeg_end()
            elif self._held.startswith(_PNG):
                end = self._png_end()
            elif len(self._held) < 8 and (_PNG.startswith(self._held) or _JPEG.startswith(self._held)):
                return
            else:
                end = self._prefixed_end()
            if end is None:
                if len(self._held) <= _MOST_BYTES + 4:
                    return
                end = -len(self._held)
            yield from self._cut(end)

    @property
    def held_bytes(self) -> int:
        """Of a picture that has not come to its end."""
        return len(self._held)

    def _cut(self, end: int) -> Iterator[bytes | None]:
        """Negative: that many bytes are no picture."""
        taken = bytes(self._held[: abs(end)])
        del self._held[: abs(end)]
        self._at, self._is_scan = 0, False
        if end < 0:
            yield None
        else:
            yield taken if taken.startswith((_JPEG, _PNG)) else taken[4:]

    def _jpeg_end(self) -> int | None:
        held, self._at = self._held, self._at or 2
        while True:
            if self._is_scan:
                found = _MARKER.search(held, self._at)
                if found is None:
                    self._at = max(self._at, len(held) - 1)
                    return None
                self._at, self._is_scan = found.start(), False
            if len(held) < self._at + 2:
                return None
            if held[self._at] != 0xFF:
                return -self._next_beginning(2)
            kind = held[self._at + 1]
            if kind == 0xD9:
                return self._at + 2
            if kind == 0xD8:  # another begins: this one was cut off
                return -self._at
            if kind == 0xFF or kind in _BARE:
                self._at += 1 if kind == 0xFF else 2
                continue
            if len(held) < self._at + 4:
                return None
            self._at += 2 + int.from_bytes(held[self._at + 2 : self._at + 4], "big")
            self._is_scan = kind == _SCAN

    def _png_end(self) -> int | None:
        held, self._at = self._held, self._at or len(_PNG)
        while len(held) >= self._at + 8:
            size, kind = int.from_bytes(held[self._at : self._at + 4], "big"), bytes(held[self._at + 4 : self._at + 8])
            if size > _MOST_BYTES:
                return -self._next_beginning(2)
            end = self._at + 12 + size
            if kind == b"IEND":
                return end if len(held) >= end else None
            self._at = end
        return None

    def _prefixed_end(self) -> int | None:
        if len(self._held) < 4:
            return None
        size = int.from_bytes(self._held[:4], "big")
        if not 0 < size <= _MOST_BYTES:
            return -self._next_beginning(1)
        return 4 + size if len(self._held) >= 4 + size else None

    def _next_beginning(self, at: int) -> int:
        found = _BEGINNING.search(self._held, at)
        return found.start() if found else len(self._held)


def captures(descriptor: int, drop: Callable[[str], None]) -> Iterator[Capture | None]:
    """Pictures until the stream ends, and None where nothing came for a while. What is none counts as `no_picture`, one
    that its writer did not finish too. DeviceError where nothing can be read."""
    splitter, is_open = Splitter(), True
    while is_open:
        if not select.select([descriptor], [], [], LOOK_S)[0]:
            yield None
            continue
        data = _read(descriptor)
        is_open = bool(data)
        for found in splitter.feed(data):
            arrived_ns, arrived_at_s = time.time_ns(), time.monotonic()
            try:
                if found is None:
                    raise errors.DataError("stdin: bytes between pictures")
                picture = pictures.opened(found, "stdin")
            except errors.DataError:
                drop("no_picture")
                continue
            yield Capture(picture, arrived_ns, arrived_at_s)
    if splitter.held_bytes:
        _log.warning(
            "stream ended within a picture, which is left out source=stdin bytes=%d remedy=%r",
            splitter.held_bytes,
            "see why the program that writes it ended",
        )
        drop("no_picture")


def _read(descriptor: int) -> bytes:
    """Nothing at the end, which for a socket may be that the writer was killed."""
    try:
        return os.read(descriptor, _READ_BYTES)
    except ConnectionError:
        return b""
    except OSError as cause:
        raise errors.DeviceError(
            f"stdin: cannot be read: {cause.strerror}; write `… | tflsplit edge --source stdin: …`"
        ) from cause
