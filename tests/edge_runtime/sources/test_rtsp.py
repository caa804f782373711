"""A real RTSP server, GStreamer's: cut off, brought back, hanging, without pictures, and with others in mid-run."""

from collections import Counter

import numpy as np
import pytest
import rtsp_server
import tiny_models
from waiting import wait_for

from edge_runtime.sources import frames, video
from tflsplit import errors

pytest.importorskip("av", reason="PyAV is not installed")


@pytest.fixture(scope="module", autouse=True)
def _has_a_server():
    if lacking := rtsp_server.why_not():
        pytest.skip(lacking)


@pytest.fixture
def manifest(builder):
    x = builder.tensor("x", (1, 4, 6, 3), scale=1 / 255, zero_point=-128)
    y = builder.add(x, x, "y", (1, 4, 6, 3))
    return tiny_models.describe(builder.build((x,), (y,)))


def test_a_camera_changes_its_size_is_cut_off_comes_back_and_hangs(manifest, monkeypatch, caplog):
    monkeypatch.setattr(video.NewestFrame.__init__, "__defaults__", ((0.05,),))
    dropped = Counter()
    with rtsp_server.Camera() as camera:
        source = frames.open_source(camera.url, manifest)
        source.drop = lambda reason: dropped.update([reason])
        captures = source.awaited()

        def until(is_so):
            return next(each.raw for each in captures if each is not None and is_so(source.size_of(each.raw)))

        first = until(lambda size: size == (64, 48))
        camera.resize(96, 32)
        wider = until(lambda size: size == (96, 32))
        assert not dropped["stream_lost"]
        camera.kill()
        wait_for(lambda: next(captures) is None and dropped["stream_lost"])
    with rtsp_server.Camera(port=camera.port) as camera:
        again = until(lambda size: size == (64, 48))
        assert dropped["stream_lost"] == 1
        monkeypatch.setattr(video, "_READING_S", 0.5)  # for the next one
        camera.kill()
        wait_for(lambda: next(captures) is None and dropped["stream_lost"] == 2)
    with rtsp_server.Camera(port=camera.port) as camera:
        until(lambda size: True)
        camera.freeze()
        wait_for(lambda: dropped["stream_lost"] == 3)
    source.close()

    arrays = [source.convert(raw)[0] for raw in (first, wider, again)]
    assert all(np.abs(np.int32(array) - arrays[0]).max() <= 2 for array in arrays)  # red, as the encoder has it
    # Packets before the first whole picture cannot be decoded.
    assert set(dropped) <= {"stream_lost", "stream_replaced", "camera_frame"}
    assert "s3cret" not in caplog.text


def test_a_camera_without_a_picture_is_refused_and_its_password_is_not_told(manifest, monkeypatch, capfd):
    monkeypatch.setattr(video, "_OPENING_S", 0.5)
    with (
        rtsp_server.Camera("silent") as camera,
        pytest.raises(errors.DeviceError, match="gives no pictures") as refused,
    ):
        frames.open_source(camera.url, manifest)

    assert "s3cret" not in str(refused.value) + "".join(capfd.readouterr())
