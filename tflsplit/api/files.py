"""Files that calls and commands write: whole or not at all, and none is replaced unasked."""

import contextlib
import os
from pathlib import Path

from tflsplit import arguments, errors
from tflsplit.arguments import PathLike
from tflsplit.package import writing


def check_free(path: Path, *, replaces_existing: bool) -> None:
    """SettingsError if `path` is taken; long work is better refused before it begins."""
    if path.exists() and not replaces_existing:
        raise errors.SettingsError(f"{path} exists already; give another name, or --force to replace it")
    if path.is_dir():
        raise errors.SettingsError(f"{path} is a folder; give the name of a file")
    writing.check_folder_of(path)


def free(out: PathLike, force: bool) -> Path:
    """Where a call's `out` may be written; `force` allows to replace what is there."""
    path = arguments.path(out, "out")
    check_free(path, replaces_existing=arguments.instance(force, bool, "force"))
    return path


def make_folder(folder: Path) -> None:
    """If it is not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise errors.SettingsError(f"{folder}: cannot be made ({cause.strerror}); give another folder") from cause


def write_whole(path: Path, content: str | bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with errors.disk_errors(path, errors.NOTHING_LEFT):
            partial.write_bytes(content if isinstance(content, bytes) else content.encode())
            partial.replace(path)
    finally:
        with contextlib.suppress(OSError):  # where nothing could be written there may be nothing to look in
            partial.unlink()
