"""What a confined process may do: compute, read Python's libraries and what it was given, and write to one folder."""

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from tflsplit.confinement import landlock, seccomp
from tflsplit.findings import Finding, State

# Where libraries lie, what they ask of the machine, and nothing of any user's.
_OF_THE_SYSTEM = (
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/opt",
    "/nix/store",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/dev/urandom",
    "/dev/random",
    "/dev/zero",
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/version",
    "/proc/filesystems",
    "/proc/sys/vm",
    "/sys/devices/system",
    "/sys/fs/cgroup",
)  # fmt: skip - a table
_WRITABLE = Path("/dev/null")


def restrict(*, readable: Iterable[Path], writable: Iterable[Path]) -> None:
    """From here on this process, which must have one thread, has these rights, as far as the kernel can take others.

    `missing` says what it cannot.
    """
    if landlock.version():
        landlock.restrict(readable=readable, writable=[*writable, _WRITABLE])
    if seccomp.is_there():
        seccomp.restrict()


def libraries() -> Sequence[Path]:
    """What a Python must be able to read. Folders around the user's home are left out, wherever `python script.py`
    found one."""
    home = Path(os.path.expanduser("~")).resolve()
    own = [place for place in sys.path if place and not home.is_relative_to(Path(place).resolve())]
    return [Path(place) for place in (*_OF_THE_SYSTEM, *own, sys.prefix, sys.base_prefix, sys.exec_prefix)]


def missing() -> tuple[str, ...]:
    """Of what confines a process, what this kernel has not."""
    known = (("Landlock", landlock.version() > 0), ("seccomp filters", seccomp.is_there()))
    return tuple(name for name, is_here in known if not is_here)


def finding() -> Finding:
    """Whether files of strangers are opened in a process without rights here."""
    lacking = missing()
    if lacking:
        return Finding(
            "sandbox", State.INFO, f"conversion is not sandboxed: this kernel has no {' and no '.join(lacking)}"
        )
    return Finding("sandbox", State.OK, f"Landlock {landlock.version()} and seccomp, on Linux {os.uname().release}")
