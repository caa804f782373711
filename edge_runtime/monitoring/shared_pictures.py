"""Publishes, now and then, the picture that the source has just captured, for people who watch. Off unless asked for.

The picture is the source's, not the model's input: made smaller, but neither cropped nor stretched, so that boxes of
results, which are fractions of it, lie where they belong.
"""

import io
import logging
import threading
from pathlib import Path

from broker.messages import topics
from broker.messages.watched import picture
from broker.transport.protocol import ConnectionState, Transport
from edge_runtime.delivery.settings import Settings
from edge_runtime.sources.captured import Capture
from edge_runtime.sources.frames import Source
from tflsplit import errors

log = logging.getLogger(__name__)

_SIDE = 640  # pixels of the longer side: some 60 KB
_QUALITY = 75


class PictureSharer:
    """Publishes at QoS 0, at most every `every_s`, on a thread of its own; a frame costs one comparison. Without room
    or broker a picture is left out."""

    def __init__(self, source: Source, transport: Transport, settings: Settings, *, every_s: float) -> None:
        self._source = source
        self._transport = transport
        self._boot = settings.boot
        self._topic = topics.topic(settings.deployment, settings.device, topics.Kind.PICTURE)
        self._every_s = every_s
        self._due_at_s = 0.0
        self._latest: Capture | None = None
        self._is_new = threading.Event()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="pictures", daemon=True)

    def __enter__(self) -> "PictureSharer":
        self._source.seen = self._see
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_stopping = True
        self._is_new.set()
        self._thread.join()

    def _see(self, capture: Capture) -> None:
        if capture.captured_at_s >= self._due_at_s:
            self._due_at_s = capture.captured_at_s + self._every_s
            self._latest = capture
            self._is_new.set()

    def _run(self) -> None:
        while self._is_new.wait() and not self._is_stopping:
            self._is_new.clear()
            capture = self._latest
            if capture is None or self._transport.state is not ConnectionState.ONLINE:
                continue
            shown = self._source.shown(capture.raw)
            if shown is None:
                log.warning("pictures not shared reason='the source gives numbers that are no picture'")
                return
            try:
                made = jpeg(shown, picture.comment(self._boot, capture.captured_ns / 1e6))
                self._transport.try_publish(self._topic, made, qos=0)
            except (errors.BrokerError, OSError, ValueError) as problem:  # of a picture that Pillow cannot read
                log.warning("picture not shared reason=%r", errors.one_line(problem))


def jpeg(shown: "Path | object", comment: bytes) -> bytes:
    """A picture file, or an array of uint8 in RGB or of one channel, as a JPEG of at most `_SIDE` pixels a side."""
    import numpy as np
    from PIL import Image, ImageOps

    if isinstance(shown, Path):
        opened: Image.Image = Image.open(shown)
        opened.draft("RGB", (_SIDE, _SIDE))  # a large JPEG is decoded smaller
    else:
        opened = Image.fromarray(np.squeeze(np.asarray(shown)))
    with opened:
        small = ImageOps.exif_transpose(opened).convert("RGB")
        small.thumbnail((_SIDE, _SIDE))
        stream = io.BytesIO()
        small.save(stream, "JPEG", quality=_QUALITY, comment=comment)
    return stream.getvalue()
