"""Real streams: an HTTP camera in this process, cut off and brought back, and video files that ffmpeg wrote."""

import contextlib
import http.server
import io
import shutil
import socket
import subprocess
import threading
import time
from collections import Counter

import numpy as np
import pytest
import tiny_models
from PIL import Image
from waiting import WAIT_S, wait_for

from edge_runtime.sources import frames, video
from tflsplit import errors
from tflsplit.inputs import pictures

pytest.importorskip("av", reason="PyAV is not installed")


@pytest.fixture
def manifest(builder):
    x = builder.tensor("x", (1, 4, 6, 3), scale=1 / 255, zero_point=-128)
    y = builder.add(x, x, "y", (1, 4, 6, 3))
    return tiny_models.describe(builder.build((x,), (y,)))


class Mjpeg:
    """An HTTP camera: a frame every 20 ms, of one colour; it can hang up on everybody, and come back with another size.

    Its port stays bound while it is away, so that no other program gets it, nor the client itself as its own end.
    """

    def __init__(self):
        self._held = socket.socket()
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.bind(("127.0.0.1", 0))
        self.port = self._held.getsockname()[1]
        self.begin((64, 48))

    def begin(self, size):
        self.is_up = True
        camera = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                with contextlib.suppress(OSError):
                    while camera.is_up:
                        held = io.BytesIO()
                        Image.new("RGB", size, (200, 30, 90)).save(held, "JPEG")
                        data = held.getvalue()
                        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                        self.wfile.write(head.encode() + data + b"\r\n")
                        time.sleep(0.02)  # the camera's own pace

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def hang_up(self):
        self.is_up = False
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def stop(self):
        if self.is_up:
            self.hang_up()
        self._held.close()


def test_an_http_camera_that_is_cut_off_is_opened_again_counted_and_may_change_its_size(manifest, monkeypatch, caplog):
    monkeypatch.setattr(video.NewestFrame.__init__, "__defaults__", ((0.05,),))
    monkeypatch.setattr(video, "_READING_S", WAIT_S)  # a machine that is busy for seconds has lost no camera
    camera, dropped = Mjpeg(), Counter()
    source = frames.open_source(f"http://me:s3cret@127.0.0.1:{camera.port}/video?key=s3cret", manifest)
    source.drop = lambda reason: dropped.update([reason])
    captures = source.awaited()
    try:
        first = next(each for each in captures if each is not None)
        camera.hang_up()
        # In this order: a frame may come, and the camera be lost, behind a look that found none.
        wait_for(lambda: dropped["stream_lost"] and next(captures) is None)
        camera.begin((80, 32))
        later = next(each for each in captures if each is not None)
        converted = [source.convert(each.raw)[0] for each in (first, later)]
    finally:
        source.close()
        camera.stop()

    assert [source.size_of(each.raw) for each in (first, later)] == [(64, 48), (80, 32)]
    assert [array.shape for array in converted] == [(1, 4, 6, 3)] * 2
    assert np.array_equal(*converted)
    assert dropped["stream_lost"] == 1
    assert "s3cret" not in caplog.text


def test_only_the_newest_frame_of_a_camera_is_given(manifest):
    camera, dropped = Mjpeg(), Counter()
    source = frames.open_source(f"http://127.0.0.1:{camera.port}/", manifest)
    source.drop = lambda reason: dropped.update([reason])
    captures = source.captures()
    try:
        next(captures)
        wait_for(lambda: dropped["stream_replaced"] > 5)
        since_s, seen = time.monotonic(), dropped["stream_replaced"]
        wait_for(lambda: dropped["stream_replaced"] > seen + 1)
        newest = next(captures)
    finally:
        source.close()
        camera.stop()

    assert newest.captured_at_s > since_s


def test_a_camera_that_gives_no_picture_is_refused_without_its_password(manifest, capfd):
    with pytest.raises(errors.DeviceError, match="gives no pictures") as refused:
        frames.open_source("http://me:s3cret@127.0.0.1:1/video", manifest)

    assert "s3cret" not in str(refused.value) + "".join(capfd.readouterr())


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_a_video_file_gives_every_frame_in_its_order_with_the_pixels_of_its_pictures(manifest, tmp_path):
    made = ("ffmpeg", "-v", "error", "-threads", "1", "-f", "lavfi", "-i", "testsrc2=size=64x48:rate=5:duration=2")
    subprocess.run([*made, tmp_path / "%02d.png"], check=True)
    subprocess.run([*made, "-c:v", "ffv1", "-pix_fmt", "bgr0", tmp_path / "all of it.mkv"], check=True)

    source = frames.open_source(f"video:{tmp_path / 'all of it.mkv'}", manifest)
    of_files = frames.open_source(tmp_path, manifest)

    found = [each.arrays[0] for each in source.inputs()]
    assert len(found) == 10
    assert not source.is_live
    assert [array.shape for array in found] == [(1, 4, 6, 3)] * 10
    expected = [each.arrays[0] for each in of_files.inputs()]
    assert np.abs(np.int32(found) - np.int32(expected)).max() <= 2
    assert pictures.size(tmp_path / "01.png") == source.size_of(next(source.captures()).raw)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_a_video_is_turned_as_its_phone_was_held_and_goes_on_behind_what_is_damaged(manifest, tmp_path):
    flat, turned = tmp_path / "flat.mp4", tmp_path / "turned.mp4"
    made = ("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=64x48:rate=5:duration=2", "-bf", "0")
    subprocess.run([*made, "-c:v", "mpeg4", "-q:v", "2", flat], check=True)
    words = ("-i", flat, "-c", "copy", turned)  # the option of ffmpeg 6 and newer, then that of older ones
    if subprocess.run(["ffmpeg", "-v", "error", "-display_rotation", "90", *words], check=False).returncode:
        subprocess.run(["ffmpeg", "-v", "error", *words[:4], "-metadata:s:v", "rotate=270", turned], check=True)
    subprocess.run(["ffmpeg", "-v", "error", "-i", turned, "-frames:v", "1", tmp_path / "1.png"], check=True)
    damaged = bytearray(flat.read_bytes())
    begin = damaged.index(b"mdat") + len(damaged) // 3
    damaged[begin : begin + 400] = bytes(400)
    (tmp_path / "damaged.mp4").write_bytes(damaged)

    first = next(frames.open_source(f"video:{turned}", manifest).captures()).raw
    expected = np.asarray(Image.open(tmp_path / "1.png").convert("RGB"))
    assert first.shape == expected.shape == (64, 48, 3)
    assert np.abs(np.int32(first) - expected).mean() < 2
    assert 5 < len(list(frames.open_source(f"video:{tmp_path}/damaged.mp4", manifest).captures())) <= 10


def test_what_is_no_video_is_refused(manifest, tmp_path):
    (tmp_path / "notes.mp4").write_text("no video")

    with pytest.raises(errors.DataError, match="there is no such file"):
        frames.open_source(f"video:{tmp_path}/none.mp4", manifest)
    with pytest.raises(errors.DataError, match="cannot be read as a video"):
        next(frames.open_source(f"video:{tmp_path}/notes.mp4", manifest).captures())
