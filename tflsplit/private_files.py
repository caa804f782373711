"""Files and folders that no other user of the machine reads: inputs, models and traces say what a camera saw.

The owner's group keeps what it was given: that is how a backup or a monitor gets in.
"""

import contextlib
import os
from pathlib import Path

_OTHERS = 0o007


def make_folder(path: Path) -> None:
    """The folder, made if need be. OSError where it cannot be, or where the folder above it is not there."""
    path.mkdir(mode=0o700, exist_ok=True)
    _shut_out_others(path)


def make_file(path: Path) -> None:
    """The file, empty if it is new. OSError where it cannot be."""
    os.close(open_file(path, os.O_RDWR | os.O_CREAT))


def open_file(path: Path, flags: int) -> int:
    """As `os.open`."""
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    _shut_out_others(descriptor)
    return descriptor


def _shut_out_others(place: int | Path) -> None:
    """An earlier version of ours left it open, or somebody made it so; only its owner may change that."""
    mode = os.stat(place).st_mode & 0o7777
    if mode & _OTHERS:
        with contextlib.suppress(PermissionError):
            os.chmod(place, mode & ~_OTHERS)
