"""The folder in which the members on one machine find each other: a Unix socket each, no network.

Who joins listens at a socket of its own and connects to all that are there; a lock lets one join at a time, so that of
two one sees the other.
"""

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from broker.zenoh import address
from tflsplit import errors

_ENDING = ".sock"
_LOCK = "joining"


@contextlib.contextmanager
def joining(folder: Path, name: str) -> Iterator[tuple[Path, Sequence[Path]]]:
    """Our socket, which is made within the block, and those of the others. SettingsError if the folder is not ours."""
    address.check_folder(folder)
    try:
        handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as problem:
        raise errors.SettingsError(f"box://{folder}: {problem.strerror}; choose another folder") from problem
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        own = folder / f"{name}{_ENDING}"
        yield own, [each for each in sorted(folder.glob(f"*{_ENDING}")) if each != own and _is_alive(each)]
    finally:
        os.close(handle)


def leave(folder: Path, name: str) -> None:
    _remove(folder / f"{name}{_ENDING}")


def _is_alive(path: Path) -> bool:
    """Whether somebody listens there; else it was left behind, and is removed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as tried:
        try:
            tried.connect(str(path))
        except OSError as problem:
            if problem.errno == errno.ECONNREFUSED:
                _remove(path)
            return False
    return True


def _remove(path: Path) -> None:
    for each in (path, path.with_name(f"{path.name}.lock")):
        each.unlink(missing_ok=True)
