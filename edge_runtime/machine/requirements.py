"""What a device needs beside libraries: a clock that others agree with, power, a way to read a camera.

Each check reads what the kernel shows and changes nothing. `root` stands for `/`.
"""

import ctypes
import importlib.machinery
import os
import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tflsplit import installation
from tflsplit.findings import Finding, State

# The kernel's estimate stops growing here; less means that something disciplines the clock. The flag beside it
# (STA_UNSYNC) says no such thing: chrony leaves it set where the hardware clock is not its own to write.
_UNSYNCHRONISED_US = 16_000_000

_OPENCV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")

# Bits of the Raspberry Pi firmware's get_throttled.
_LOW_NOW, _LOW_SINCE_START = 1 << 0, 1 << 16


@dataclass(frozen=True, slots=True)
class ClockReading:
    max_error_us: int


def read_clock() -> ClockReading:
    """The kernel's own estimate of how wrong the clock can be; OSError where it does not tell."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "adjtimex"):
        raise OSError("this system has no adjtimex")
    state = ctypes.create_string_buffer(256)  # struct timex is 208 bytes; modes = 0 only reads
    if libc.adjtimex(state) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    _modes, _offset, _frequency, max_error_us = struct.unpack_from("@Illl", state)
    return ClockReading(max_error_us)


def clock(read: Callable[[], ClockReading] = read_clock) -> Finding:
    """Whether times of this machine can be compared with those of another."""
    try:
        error_us = read().max_error_us
    except OSError as problem:
        return Finding("clock", State.INFO, f"unknown whether it is synchronised: {problem}")
    if error_us < _UNSYNCHRONISED_US:
        return Finding("clock", State.OK, f"synchronised, off by {error_us / 1000:.0f} ms at most")
    remedy = "sudo timedatectl set-ntp true (or install chrony); latencies between machines are wrong until then"
    return Finding("clock", State.WRONG, "not synchronised", remedy)


def power(root: Path = Path("/")) -> Finding:
    """Whether a Raspberry Pi gets the voltage it needs; other machines do not tell."""
    remedy = "use the board's own power supply and a short cable; plug a USB accelerator into a powered hub"
    for sensor in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        if _text(sensor / "name") == "rpi_volt":
            if _text(sensor / "in0_lcrit_alarm") == "1":
                return Finding("power", State.WRONG, "undervoltage: the board slows down and USB devices fail", remedy)
            return Finding("power", State.OK, "no undervoltage")
    throttled = _text(root / "sys/devices/platform/soc/soc:firmware/get_throttled")
    if throttled is None:
        return Finding("power", State.INFO, "this machine does not report undervoltage")
    bits = int(throttled, 16)
    if bits & (_LOW_NOW | _LOW_SINCE_START):
        when = "now" if bits & _LOW_NOW else "since it started"
        return Finding("power", State.WRONG, f"undervoltage {when}: the board slows down and USB devices fail", remedy)
    return Finding("power", State.OK, "no undervoltage since it started")


def opencv(path: Sequence[str] | None = None) -> Finding:
    """Only cameras need it, so that it is no requirement."""
    version = next((found for name in _OPENCV if (found := installation.version_of(name, path))), None)
    if importlib.machinery.PathFinder.find_spec("cv2", sys.path if path is None else path) is None:
        remedy = "for --source camera:N: pip install opencv-python-headless"
        return Finding("OpenCV", State.INFO, "not installed; only cameras need it", remedy)
    return Finding("OpenCV", State.OK, version or "installed, version unknown")


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None
