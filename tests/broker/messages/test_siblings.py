"""What a device has measured, on the wire."""

import math
import struct

import pytest

from broker.messages import probes, siblings, telemetry, updates
from broker.messages.siblings import Figures
from tflsplit import errors

TOLD = Figures(b"12345678", 3, 4.5, 2e-7, 0.04, 1.5, 2.0, 0.01)


def test_figures_come_back_as_they_were_said():
    assert siblings.parse(TOLD.encode()) == TOLD
    assert siblings.parse(Figures(b"12345678", 0).encode()).devices == 0


def test_the_bytes_are_these():
    assert TOLD.encode() == b"TFSK12345678\x03\x00" + struct.pack("<6d", 4.5, 2e-7, 0.04, 1.5, 2.0, 0.01)
    assert len(TOLD.encode()) == 62


def test_it_is_told_from_what_else_is_said_there():
    assert siblings.is_one(TOLD.encode())
    assert telemetry.is_for_others(TOLD.encode())
    assert not siblings.is_one(probes.message(1, 2, b""))
    assert not TOLD.encode().startswith(updates.REPORT_MAGIC)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"TFSK",
        TOLD.encode() + b"x",
        Figures(b"12345678", 1, 0.0, math.nan, 0.04, 1.0, 1.0).encode(),
        Figures(b"12345678", 1, 0.0, 1e-7, math.inf, 1.0, 1.0).encode(),
        Figures(b"12345678", 1, -1.0, 1e-7, 0.04, 1.0, 1.0).encode(),
        Figures(b"12345678", 1, 0.0, 0.0, 0.04, 1.0, 1.0).encode(),
        Figures(b"12345678", 1, 0.0, 1e-7, 0.04, 0.0, 1.0).encode(),
    ],
)
def test_what_no_device_would_say_is_refused(payload):
    with pytest.raises(errors.FrameError, match="figures of siblings"):
        siblings.parse(payload)
