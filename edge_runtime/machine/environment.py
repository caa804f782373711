"""What may explain that two profiles differ: processor, governor, temperature, runtime. Reads only, changes nothing.

`root` stands for `/`. What a machine does not tell is left out.
"""

import ctypes
import os
import platform
import socket
from importlib import metadata
from pathlib import Path

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
    """Of the hottest zone; empty where there is none to read."""
    readings = (_in_thousands(zone / "temp") for zone in (root / "sys/class/thermal").glob("thermal_zone*"))
    return max(filter(None, readings), key=float, default="")


def allocated_bytes() -> int:
    """What this process holds: the C library's own account where it keeps one, else the resident memory.

    Resident memory does not grow when a model takes the place of one that was freed; the account does.
    """
    try:
        account = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
    account.restype = _Mallinfo2
    held = account()
    return int(held.uordblks + held.hblkhd)


class _Mallinfo2(ctypes.Structure):
    """glibc's `struct mallinfo2` (2.33 and later): `uordblks` is in use, `hblkhd` in mapped blocks of its own."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    )


def _cpu(root: Path) -> str:
    """x86 names the model, boards of ARM the board."""
    for line in _text(root / "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model"):
            return value.strip()
    return _text(root / "proc/device-tree/model").strip("\0")


def _governor(root: Path) -> str:
    found = {_text(file) for file in (root / "sys/devices/system/cpu").glob("cpu*/cpufreq/scaling_governor")}
    return ",".join(sorted(found))


def _runtime() -> str:
    for name in _RUNTIMES:
        try:
            return f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue
    return ""


def _in_thousands(file: Path) -> str:
    text = _text(file)
    return f"{int(text) / 1000:.1f}" if text.lstrip("-").isdigit() else ""


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
