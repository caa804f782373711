"""A stand-in for picamera2, which runs on a Raspberry Pi only: the calls that are made of it, and what they give."""

import sys
import types

import numpy as np
import pytest
import tiny_models

from edge_runtime.sources import frames
from tflsplit import errors

RED = np.full((8, 12, 3), (200, 30, 90), np.uint8)


class StandIn:
    """`Picamera2` as its manual has it; BGR888 gives arrays whose last axis is R, G, B."""

    made = ()

    def __init__(self, number):
        if number > 0:
            raise IndexError("list index out of range")
        self.steps = []
        StandIn.made = (*StandIn.made, self)

    def create_video_configuration(self, main):
        return main

    def configure(self, main):
        assert main == {"format": "BGR888"}
        self.steps.append("configure")

    def start(self):
        self.steps.append("start")

    def capture_array(self, name):
        assert name == "main"
        return RED

    def stop(self):
        self.steps.append("stop")

    def close(self):
        self.steps.append("close")


@pytest.fixture
def manifest(builder):
    x = builder.tensor("x", (1, 4, 6, 3), scale=1 / 255, zero_point=-128)
    y = builder.add(x, x, "y", (1, 4, 6, 3))
    return tiny_models.describe(builder.build((x,), (y,)))


def test_a_pi_camera_gives_its_colours_in_their_order_and_is_given_back(manifest, monkeypatch):
    monkeypatch.setitem(sys.modules, "picamera2", types.SimpleNamespace(Picamera2=StandIn))
    source = frames.open_source("picamera:0", manifest)
    taken = next(source.captures())
    source.close()

    assert source.size_of(taken.raw) == (12, 8)
    assert source.shown(taken.raw)[0, 0].tolist() == [200, 30, 90]
    assert source.convert(taken.raw)[0][0, 0, 0].tolist() == [72, -98, -38]
    assert StandIn.made[-1].steps == ["configure", "start", "stop", "close"]


def test_a_pi_camera_that_is_not_there_is_refused(manifest, monkeypatch):
    monkeypatch.setitem(sys.modules, "picamera2", types.SimpleNamespace(Picamera2=StandIn))
    with pytest.raises(errors.DeviceError, match="picamera:1 gives no pictures"):
        frames.open_source("picamera:1", manifest)

    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(errors.DeviceError, match="apt install python3-picamera2"):
        frames.open_source("picamera:0", manifest)
