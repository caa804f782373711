"""Files that appear whole or not at all, and belong to whoever owns the folder they are in.

The second matters where root changes a deployment whose broker runs as a user of its own: what it could not read any
more would end it at its next start.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from tflsplit import errors

_PRIVATE_FILE = 0o600
_PRIVATE_FOLDER = 0o700


def write(path: Path, data: bytes) -> None:
    """Replaces what is there, in one step."""
    partial = path.with_name(f".{path.name}.partial")
    with contextlib.suppress(FileNotFoundError):
        partial.unlink()  # left by one that was killed; it may belong to somebody else
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE_FILE), "wb") as stream:
        _give_to_owner_of(path.parent, stream.fileno())
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)


def write_folder(path: Path, contents: Mapping[str, bytes]) -> None:
    """A private folder with these files, in place of what is there."""
    partial, replaced = (path.with_name(f".{path.name}.{state}") for state in ("partial", "replaced"))
    for left in (partial, replaced):
        shutil.rmtree(left, ignore_errors=True)
    make_folder(partial)
    for name, data in contents.items():
        write(partial / name, data)
    if path.exists():
        path.rename(replaced)
    partial.rename(path)
    shutil.rmtree(replaced, ignore_errors=True)


def make_folder(path: Path) -> None:
    path.mkdir(mode=_PRIVATE_FOLDER)
    path.chmod(_PRIVATE_FOLDER)  # whatever the umask


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A private folder beside `path` that takes its place when the block ends well, and vanishes when it does not."""
    partial = path.parent / f".{path.name}.{os.getpid()}.partial"
    with disk_errors(path):
        if os.path.lexists(path):
            raise errors.SettingsError(
                f"{path} exists already; it is never replaced, for its keys could not be made again"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        try:
            make_folder(partial)
            yield partial
            partial.rename(path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One change at a time; another waits."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as cause:
        raise errors.DeviceError(
            f"{path}: {cause.strerror or cause}; run the command again once that is mended"
        ) from cause


def _remove_abandoned(path: Path) -> None:
    """What a killed maker left behind, keys among it; known by the process id in its name."""
    for left in path.parent.glob(f".{path.name}.*.partial"):
        pid = left.name.rsplit(".", 2)[1]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(left)


def _give_to_owner_of(folder: Path, handle: int) -> None:
    if os.geteuid() == 0:
        owner = folder.stat()
        os.fchown(handle, owner.st_uid, owner.st_gid)
