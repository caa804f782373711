"""What pictures come from, beside files and a camera of this machine: opened, with what is needed to convert them."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.sources import camera, picamera, piped, topic, video, watched, words
from edge_runtime.sources.captured import Capture
from edge_runtime.sources.words import Kind, Word
from tflsplit import arguments, errors
from tflsplit.graph.tensors import Array
from tflsplit.values.classes import dataclass

Drop = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Pictures:
    """`make` gives Pillow pictures, RGB arrays, or BGR arrays where `is_bgr`; a Capture where the time of the picture
    is known, and None where none came for a while."""

    make: Callable[[Drop], Iterator[Any]]
    close: Callable[[], None] = lambda: None
    is_live: bool = True
    is_bgr: bool = False

    def rgb(self, raw: Any) -> Any:
        """A Pillow picture or RGB pixels."""
        cv2 = camera.opencv() if self.is_bgr else None
        return raw if cv2 is None else cv2.cvtColor(raw, cv2.COLOR_BGR2RGB)

    def shown(self, raw: Any) -> Array:
        """RGB pixels."""
        rgb = self.rgb(raw)
        return np.asarray(rgb if isinstance(rgb, np.ndarray) else rgb.convert("RGB"))

    def size(self, raw: Any) -> tuple[int, int]:
        width, height = raw.shape[1::-1] if isinstance(raw, np.ndarray) else raw.size
        return int(width), int(height)


def opened(word: Word, reader: str, connect: topic.Connect | None = None) -> Pictures:
    """`reader` is the name of who remembers what was taken; without, nothing is remembered on disk. `connect` is for
    pictures of a topic."""
    openers: dict[Kind, Callable[[], Pictures]] = {
        Kind.WATCHED: lambda: _folder(arguments.path(word.place, "source"), reader),
        Kind.STDIN: _stdin,
        Kind.VIDEO: lambda: _video(arguments.path(word.place, "source")),
        Kind.NETWORK: lambda: _newest(word, lambda: video.opened(word.place)),
        Kind.PICAMERA: lambda: _newest(word, lambda: picamera.opened(int(word.place))),
        Kind.TOPIC: lambda: _topic(word, connect),
        Kind.CAMERA: lambda: _camera(word),
    }
    return openers[word.kind]()


def _camera(word: Word) -> Pictures:
    device = camera.opened(word.shown)
    return Pictures(lambda drop: camera.pictures(device, word.shown, drop), device.release, is_bgr=True)


def _folder(path: Path, reader: str) -> Pictures:
    folder = watched.open_folder(path)
    memory = watched.Memory(folder, watched.memory_file(folder, reader) if reader else None)
    passes: list[Iterator[Capture | None]] = []

    def make(drop: Drop) -> Iterator[Capture | None]:
        passes.append(watched.captures(folder, memory, drop))
        return passes[-1]

    def close() -> None:
        for each in passes:
            _ended(each)
        memory.close()

    return Pictures(make, close)


def _ended(captures: Any) -> None:
    try:
        captures.close()
    except ValueError:  # a thread that was given up on is in it still
        return


def _stdin() -> Pictures:
    if sys.stdin is None or sys.stdin.isatty():
        raise errors.DataError("stdin: no pictures come from a terminal; write `… | tflsplit edge --source stdin: …`")
    descriptor = sys.stdin.fileno()
    return Pictures(lambda drop: piped.captures(descriptor, drop))


def _video(file: Path) -> Pictures:
    if not file.is_file():
        raise errors.DataError(f"video:{file}: there is no such file")
    return Pictures(lambda drop: video.frames_of(file, drop), is_live=False)


def _topic(word: Word, connect: topic.Connect | None) -> Pictures:
    if connect is None:
        raise errors.SettingsError(f"source {word.shown}: pictures of a topic are for an edge; give files or a camera")
    wanted = words.subscription(word.place)
    pictures = topic.Subscribed(connect(wanted), wanted, word.shown)
    return Pictures(pictures.captures, pictures.close)


def _newest(word: Word, open_it: Callable[[], video.Stream | None]) -> Pictures:
    newest = video.NewestFrame(open_it, word.shown)

    def make(drop: Drop) -> Iterator[Capture | None]:
        newest.drop = drop
        return newest.captures()

    return Pictures(make, newest.close)
