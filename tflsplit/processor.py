"""The processor as an interpreter sees it: by the interpreter's own word size, and by the features that it shows.

A 32-bit system under a 64-bit kernel, as on many a Raspberry Pi, is told `aarch64` by that kernel; what can be
installed and run there is what a 32-bit machine can.
"""

import hashlib
import platform
import sys
from pathlib import Path

_OF_32_BITS = {"aarch64": "armv7l", "arm64": "armv7l", "x86_64": "i686", "amd64": "i686"}

# The lines of /proc/cpuinfo by which a runtime may pick its kernels; others change from start to start.
_TELLING = frozenset(
    {
        "vendor_id",
        "cpu family",
        "model",
        "model name",
        "flags",
        "Features",
        "CPU implementer",
        "CPU architecture",
        "CPU variant",
        "CPU part",
        "CPU revision",
        "isa",
    }
)


def machine(reported: str | None = None, *, is_64_bit: bool = sys.maxsize > 2**32) -> str:
    """`x86_64`, `aarch64`, `armv7l` …: what this process runs as, whatever the kernel is."""
    found = platform.machine() if reported is None else reported
    return found if is_64_bit else _OF_32_BITS.get(found.lower(), found)


def identity(root: Path = Path("/")) -> str:
    """A short text that is another one on another kind of processor, or where the kernel shows other features of it."""
    try:
        lines = (root / "proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    telling = {line for line in lines if line.partition(":")[0].strip() in _TELLING}
    return hashlib.sha256("\n".join(sorted(telling)).encode()).hexdigest()[:16]
