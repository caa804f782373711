"""Pipes of this process, and of a real ffmpeg where there is one."""

import io
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from edge_runtime.sources import piped
from tflsplit import errors

JUNK = b"HTTP/1.1 says no picture"


def encoded(kind, seed=0, **how):
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, kind, **how)
    return held.getvalue()


def prefixed(data):
    return len(data).to_bytes(4, "big") + data


def with_thumbnail():
    """A JPEG with a whole JPEG in its EXIF segment, as cameras write them."""
    inner = b"Exif\0\0" + encoded("JPEG", 8)
    whole = encoded("JPEG", 7)
    return whole[:2] + b"\xff\xe1" + (len(inner) + 2).to_bytes(2, "big") + inner + whole[2:]


FILES = (
    encoded("JPEG", 1),
    encoded("PNG", 2),
    encoded("JPEG", 3, progressive=True),
    with_thumbnail(),
    encoded("JPEG", 4, restart_marker_blocks=1),
)


@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_pictures_one_behind_the_other_are_cut_apart(step):
    stream, splitter = b"".join(FILES), piped.Splitter()
    found = [each for at in range(0, len(stream), step) for each in splitter.feed(stream[at : at + step])]

    assert found == list(FILES)
    assert splitter.held_bytes == 0


def test_any_picture_file_may_come_behind_its_length():
    files = [*FILES, encoded("BMP", 5), encoded("WEBP", 6, lossless=True)]

    assert list(piped.Splitter().feed(b"".join(map(prefixed, files)))) == files


@pytest.mark.parametrize("junk", [JUNK, FILES[0][:200], FILES[1][:20] + b"\xff" * 40], ids=["text", "half", "damaged"])
def test_what_is_no_picture_is_left_out_and_the_next_one_found(junk):
    splitter = piped.Splitter()

    found = list(splitter.feed(FILES[0] + junk + FILES[2] + FILES[1]))

    assert [each for each in found if each is not None] in ([FILES[0], FILES[2], FILES[1]], [FILES[0], FILES[1]])
    assert None in found


def read(write):
    """What comes of a pipe that `write` fills, and what was dropped."""
    reading, writing = os.pipe()
    dropped = Counter()

    def fill():
        with open(writing, "wb") as stream:
            write(stream)

    filling = threading.Thread(target=fill)
    filling.start()
    found = [taken.raw for taken in piped.captures(reading, lambda reason: dropped.update([reason])) if taken]
    filling.join()
    os.close(reading)
    return found, dropped


def test_a_stream_gives_the_pixels_of_its_files_and_counts_the_rest():
    found, dropped = read(lambda stream: stream.write(FILES[0] + prefixed(b"no picture") + FILES[1] + FILES[2][:50]))

    assert len(found) == 2
    for picture, data in zip(found, FILES, strict=False):
        assert np.array_equal(np.asarray(picture), np.asarray(Image.open(io.BytesIO(data))))
    assert dropped == {"no_picture": 2}


def test_a_pipe_that_says_nothing_is_waited_for():
    reading, writing = os.pipe()
    captures = piped.captures(reading, lambda reason: None)

    assert next(captures) is None
    os.write(writing, FILES[0])
    assert next(each for each in captures if each is not None).raw.size == (11, 9)
    os.close(writing)
    assert list(captures) == []
    os.close(reading)


@pytest.mark.parametrize("connect", [lambda: os.pipe()[::-1], socket.socketpair], ids=["pipe", "socket"])
def test_a_writer_that_is_killed_within_a_picture_is_told_of_and_counted(connect, caplog):
    writing, reading = connect()
    descriptor = reading if isinstance(reading, int) else reading.fileno()
    program = "import os, sys; os.write(1, sys.stdin.buffer.read()); os.kill(os.getpid(), 9)"
    stream = FILES[0] + FILES[1][:60]
    killed = subprocess.run([sys.executable, "-c", program], input=stream, stdout=writing, check=False)
    if isinstance(writing, int):
        os.close(writing)
    else:
        reading.send(b"unread, so that the end is a reset")
        writing.close()
    dropped = Counter()

    found = [taken for taken in piped.captures(descriptor, lambda reason: dropped.update([reason])) if taken]
    os.close(descriptor) if isinstance(reading, int) else reading.close()

    assert killed.returncode == -9
    assert len(found) == 1
    assert dropped == {"no_picture": 1}
    assert caplog.text.count("stream ended within a picture, which is left out source=stdin bytes=60") == 1


def test_what_cannot_be_read_is_refused(tmp_path):
    with (tmp_path / "written").open("wb") as file, pytest.raises(errors.DeviceError, match="cannot be read"):
        next(piped.captures(file.fileno(), lambda reason: None))


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
@pytest.mark.parametrize(
    "how", [("-f", "image2pipe", "-c:v", "mjpeg"), ("-f", "image2pipe", "-c:v", "png"), ("-f", "mjpeg")]
)
def test_what_ffmpeg_writes_is_read(how):
    made = ("ffmpeg", "-v", "error", "-threads", "1", "-f", "lavfi", "-i", "testsrc2=size=64x48:rate=5:duration=2")
    stream = subprocess.run([*made, *how, "-"], capture_output=True, check=True).stdout

    found, dropped = read(lambda into: into.write(stream))

    assert [picture.size for picture in found] == [(64, 48)] * 10
    assert not dropped
