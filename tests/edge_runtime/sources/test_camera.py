"""A camera that stumbles: reads tried again, frames of another kind left out, all counted. No camera is needed."""

import sys
import types
from collections import Counter
from itertools import islice

import numpy as np
import pytest

from edge_runtime.sources import camera
from tflsplit import errors

COLOUR = np.full((4, 6, 3), 7, np.uint8)
OTHERS = (
    np.zeros((4, 6), np.uint8),
    np.zeros((4, 6, 1), np.uint8),
    np.zeros((4, 6, 4), np.uint8),
    np.zeros((4, 6, 3), np.uint16),
    np.zeros((0, 6, 3), np.uint8),
    None,
)


class BrokenError(Exception):
    pass


class Camera:
    """Gives what it was made of; an exception is raised, False is a read that failed."""

    def __init__(self, *given):
        self._given = iter(given)
        self.opened = []

    def open(self, number):
        self.opened.append(number)
        return True

    def read(self):
        given = next(self._given)
        if isinstance(given, Exception):
            raise given
        return (False, None) if given is False else (True, given)


@pytest.fixture(autouse=True)
def opencv(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", types.SimpleNamespace(error=BrokenError))


def taken(count, *given):
    """Pictures, what was dropped, and how long was waited."""
    dropped, waited = Counter(), []
    source = camera.pictures(Camera(*given), "camera:0", lambda reason: dropped.update([reason]), waited.append)
    return list(islice(source, count)), dropped, waited


def test_a_failed_read_is_tried_again_later_each_time_and_counted():
    pictures, dropped, waited = taken(2, False, BrokenError("select() timeout"), False, COLOUR, False, COLOUR)

    assert len(pictures) == 2
    assert dropped == {"camera_read": 4}
    assert waited == [0.1, 0.2, 0.4, 0.1]


def test_a_camera_that_fails_more_than_once_is_opened_again():
    broken = Camera(False, False, False, COLOUR)
    source = camera.pictures(broken, "camera:3", lambda reason: None, lambda seconds: None)

    assert next(source).tolist() == COLOUR.tolist()
    assert broken.opened == [3, 3]


def test_frames_of_another_kind_are_left_out_and_counted():
    pictures, dropped, waited = taken(2, COLOUR, *OTHERS, COLOUR)

    assert [picture.tolist() for picture in pictures] == [COLOUR.tolist()] * 2
    assert dropped == {"camera_frame": len(OTHERS)}
    assert waited == []


def test_a_camera_that_stays_away_is_a_failure():
    with pytest.raises(errors.DeviceError, match="gives no more pictures"):
        taken(1, *[False] * 20)


def test_a_camera_that_gives_nothing_else_is_named_with_what_it_gives():
    with pytest.raises(errors.DeviceError, match=r"uint16 frames of shape \(4, 6, 3\)"):
        taken(1, *[OTHERS[3]] * 200)
