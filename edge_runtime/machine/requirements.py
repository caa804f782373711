"""What a device needs besides libraries: a synchronised clock, enough power, and OpenCV for a camera.

Each check reads what the kernel reports and changes nothing. `root` stands for `/`.
"""

import ctypes
import importlib.machinery
import os
import struct
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from edge_runtime.machine import kernel_files
from tflsplit import extras
from tflsplit.findings import Finding, State

# The kernel's estimate stops growing here; less means that a time service corrects the clock. The flag STA_UNSYNC does
# not show it: chrony leaves the flag set if it may not write the hardware clock.
_UNSYNCHRONISED_US = 16_000_000


# Bits of the Raspberry Pi firmware's get_throttled.
_LOW_NOW, _LOW_SINCE_START = 1 << 0, 1 << 16


def read_clock_error_us() -> int:
    """The kernel's own estimate of how wrong the clock can be, in µs; OSError if the kernel has none."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "adjtimex"):
        raise OSError("this system has no adjtimex")
    state = ctypes.create_string_buffer(256)  # struct timex is 208 bytes; modes = 0 only reads
    if libc.adjtimex(state) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    _modes, _offset, _frequency, max_error_us = struct.unpack_from("@Illl", state)
    return int(max_error_us)


def clock(read_error_us: Callable[[], int] = read_clock_error_us) -> Finding:
    """Whether times of this machine can be compared with those of another."""
    try:
        error_us = read_error_us()
    except OSError as problem:
        return Finding("clock", State.INFO, f"unknown whether it is synchronised: {problem}")
    if error_us < _UNSYNCHRONISED_US:
        return Finding("clock", State.OK, f"synchronised, off by {error_us / 1000:.0f} ms at most")
    remedy = "`sudo timedatectl set-ntp true`, or install chrony; latencies between machines are wrong until then"
    return Finding("clock", State.WRONG, "not synchronised", remedy)


def power(root: Path = Path("/")) -> Finding:
    """Whether a Raspberry Pi gets the voltage it needs; other machines do not report it."""
    remedy = "use the board's own power supply and a short cable; plug a USB accelerator into a powered hub"
    for sensor in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        if kernel_files.text(sensor / "name") == "rpi_volt":
            if kernel_files.text(sensor / "in0_lcrit_alarm") == "1":
                return Finding("power", State.WRONG, "undervoltage: the board slows down and USB devices fail", remedy)
            return Finding("power", State.OK, "no undervoltage")
    throttled = kernel_files.text(root / "sys/devices/platform/soc/soc:firmware/get_throttled")
    if not throttled:
        return Finding("power", State.INFO, "this machine does not report undervoltage")
    bits = int(throttled, 16)
    if bits & (_LOW_NOW | _LOW_SINCE_START):
        when = "now" if bits & _LOW_NOW else "since it started"
        return Finding("power", State.WRONG, f"undervoltage {when}: the board slows down and USB devices fail", remedy)
    return Finding("power", State.OK, "no undervoltage since it started")


def opencv(path: Sequence[str] | None = None) -> Finding:
    """Whether OpenCV is installed; only cameras of this machine need it."""
    return _decoder("OpenCV", "cv2", "camera:N", path)


def pyav(path: Sequence[str] | None = None) -> Finding:
    """Whether PyAV is installed; only network cameras and videos need it."""
    return _decoder("PyAV", "av", "rtsp://… and video:FILE", path)


def _decoder(title: str, module: str, sources: str, path: Sequence[str] | None) -> Finding:
    distribution, extra = extras.MODULES[module]
    version = extras.version_of(distribution, path)
    if importlib.machinery.PathFinder.find_spec(module, sys.path if path is None else path) is None:
        remedy = f"for `--source {sources}`: `{extras.install(extra)}`"
        return Finding(title, State.INFO, f"not installed; only {sources} needs it", remedy)
    return Finding(title, State.OK, version or "installed, version unknown")
