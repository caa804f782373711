"""Writes files completely or not at all, with the owner of their folder.

The owner matters if root changes a deployment whose broker runs as another user: the broker could not read the files of
root, and would fail at its next start.
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


def write(path: Path, data: bytes, *, is_synced: bool = True) -> None:
    """Replaces the file in one step; where it is not `is_synced`, others see to it that the disk has it."""
    partial = path.with_name(f".{path.name}.partial")
    with contextlib.suppress(FileNotFoundError):
        partial.unlink()  # left by a killed process; it may have another owner
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE_FILE), "wb") as stream:
        _give_to_owner_of(path.parent, stream.fileno())
        stream.write(data)
        stream.flush()
        if is_synced:
            os.fsync(stream.fileno())
    partial.replace(path)


def write_folder(path: Path, contents: Mapping[str, bytes], *, is_synced: bool = True) -> None:
    """Replaces the folder by a private one with these files."""
    partial, replaced = (path.with_name(f".{path.name}.{state}") for state in ("partial", "replaced"))
    for left in (partial, replaced):
        shutil.rmtree(left, ignore_errors=True)
    make_folder(partial)
    for name, data in contents.items():
        write(partial / name, data, is_synced=is_synced)
    if path.exists():
        path.rename(replaced)
    partial.rename(path)
    shutil.rmtree(replaced, ignore_errors=True)


def make_folder(path: Path) -> None:
    path.mkdir(mode=_PRIVATE_FOLDER)
    path.chmod(_PRIVATE_FOLDER)  # whatever the umask


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A private folder that becomes `path` when the block succeeds, and is removed when it fails."""
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
            os.sync()
            partial.rename(path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the folder's lock, waiting for other processes that change it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def disk_errors(path: Path) -> contextlib.AbstractContextManager[None]:
    return errors.disk_errors(path, "{}; run the command again once that is mended")


def _remove_abandoned(path: Path) -> None:
    """Removes folders that killed processes left, with keys in them; their names contain the process id."""
    for left in path.parent.glob(f".{path.name}.*.partial"):
        pid = left.name.rsplit(".", 2)[1]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(left)


def _give_to_owner_of(folder: Path, handle: int) -> None:
    if os.geteuid() == 0:
        owner = folder.stat()
        os.fchown(handle, owner.st_uid, owner.st_gid)
