"""The same picture through every source that keeps its pixels, fitted in every way: the same arrays."""

import contextlib
import dataclasses
import shutil
import subprocess

import numpy as np
import pytest
import tiny_models
from PIL import Image

from broker.local import server
from broker.mqtt.transport import MqttTransport
from edge_runtime.sources import frames
from tflsplit.api import connections
from tflsplit.inputs import preprocessing
from tflsplit.inputs.resizing import Resize


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """Of uneven sides, in a folder whose name many programs stumble over."""
    folder = tmp_path_factory.mktemp("pictures") / "a ß b:c é"
    folder.mkdir()
    pixels = np.random.default_rng(3).integers(0, 256, (46, 62, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "pic 1.png")
    return folder / "pic 1.png"


@pytest.fixture
def manifest(builder):
    x = builder.tensor("x", (1, 24, 17, 3), scale=1 / 255, zero_point=-128)
    y = builder.add(x, x, "y", (1, 24, 17, 3))
    return tiny_models.describe(builder.build((x,), (y,)))


@pytest.fixture(scope="module")
def words(picture, tmp_path_factory):
    """Each source, with what it needs, by a name for the message of a test that fails."""
    video = tmp_path_factory.mktemp("video") / "a ß b:c é.mkv"
    found = {
        "folder": str(picture.parent),
        "file": str(picture),
        "watched": f"watch:{picture.parent}",
        "pipe": "stdin:",
    }
    with contextlib.ExitStack() as stack:
        if shutil.which("ffmpeg"):
            made = ("ffmpeg", "-v", "error", "-i", picture, "-c:v", "ffv1", "-pix_fmt", "bgr0", video)
            subprocess.run(made, check=True)
            found["video"] = f"video:{video}"
        if server.mosquitto_path():
            broker = stack.enter_context(server.run(port=0))
            said = stack.enter_context(MqttTransport(broker.url, client_id="camera"))
            said.connect()
            said.publish("pictures/a ß b é", picture.read_bytes(), retain=True)
            assert said.flush(60.0)
            found["topic"] = f"{broker.url}/pictures/a ß b é"
        yield found


@pytest.mark.parametrize("resize", Resize)
def test_every_source_gives_the_same(words, manifest, picture, resize, monkeypatch):
    pytest.importorskip("av", reason="PyAV is not installed")
    told = dataclasses.replace(preprocessing.NAMED["unit"], resize=resize)
    manifest = dataclasses.replace(manifest, preprocessing=told)

    def first(word, as_pixels):
        connect = connections.of_pictures(None, ("d", "n"))
        with picture.open("rb") as stream:
            monkeypatch.setattr("sys.stdin", stream)
            opened = frames.open_source(word, manifest, as_pixels=as_pixels, connect=connect)
            with contextlib.closing(opened) as source:
                return next(source.inputs()).arrays[0]

    for as_pixels in (False, True):
        arrays = {name: first(word, as_pixels) for name, word in words.items()}
        assert {name for name, array in arrays.items() if not np.array_equal(array, arrays["file"])} == set()
        assert len(np.unique(arrays["file"])) > 50
