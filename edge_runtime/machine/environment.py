"""Facts that explain why two profiles differ: processor, governor, temperature, runtime.

`root` stands for `/`. Facts that a machine does not report are left out.
"""

import ctypes
import os
import platform
import socket
from importlib import metadata
from pathlib import Path

from edge_runtime.machine import kernel_files

_RUNTIMES = ("ai-edge-litert", "tflite-runtime")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def describe(root: Path = Path("/")) -> dict[str, str]:
    found = {
        "host": socket.gethostname(),
        "cpu": _cpu(root),
        "cores": str(len(os.sched_getaffinity(0))),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "runtime": _runtime(),
        "governor": _governor(root),
        "clock_mhz": _in_thousands(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"),
        "temperature_c": temperature_c(root),
    }
    return {key: value for key, value in found.items() if value}


def temperature_c(root: Path = Path("/")) -> str:
    """Of the hottest thermal zone; empty if there is none."""
    readings = (_in_thousands(zone / "temp") for zone in (root / "sys/class/thermal").glob("thermal_zone*"))
    return max(filter(None, readings), key=float, default="")


def allocated_bytes() -> int:
    """Memory that this process has allocated, by the C library's statistics; without them, its resident memory.

    Resident memory does not grow when a model takes the place of one that was freed; the statistics do.
    """
    try:
        mallinfo2 = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
    mallinfo2.restype = _Mallinfo2
    found = mallinfo2()
    return int(found.uordblks + found.hblkhd)


class _Mallinfo2(ctypes.Structure):
    """glibc's `struct mallinfo2` (2.33 and later): `uordblks` is in use, `hblkhd` in mapped blocks of its own."""

    _NAMES = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = tuple((name, ctypes.c_size_t) for name in _NAMES.split(" "))


def _cpu(root: Path) -> str:
    """The processor's model on x86, the board's on ARM."""
    for line in kernel_files.text(root / "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model"):
            return value.strip()
    return kernel_files.text(root / "proc/device-tree/model").strip("\0")


def _governor(root: Path) -> str:
    found = {
        kernel_files.text(file) for file in (root / "sys/devices/system/cpu").glob("cpu*/cpufreq/scaling_governor")
    }
    return ",".join(sorted(found))


def _runtime() -> str:
    for name in _RUNTIMES:
        try:
            return f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue
    return ""


def _in_thousands(file: Path) -> str:
    text = kernel_files.text(file)
    return f"{int(text) / 1000:.1f}" if text.lstrip("-").isdigit() else ""
