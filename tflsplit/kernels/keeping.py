"""The kernel class of this machine, kept between starts: measured once for each runtime, version and processor.

kernel_class.json    in the user's cache directory: `key`, of what a result depends on, and the class

A file that is damaged or cannot be written costs a measurement at each start, some tenths of a second, no more.
"""

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tflsplit import errors, processor, strict_json
from tflsplit.graph import interpreter
from tflsplit.kernels import probe
from tflsplit.kernels.classes import KernelClass, compare

log = logging.getLogger(__name__)

FILE = "kernel_class.json"
_FORMAT = 1
_MOST_BYTES = 1 << 16


class Found(NamedTuple):
    """`before` is the class of an earlier start where that was another one, say before an upgrade of the runtime."""

    kernel_class: KernelClass
    before: KernelClass | None = None

    @property
    def change(self) -> str:
        """What to say of it in one line; empty if nothing changed."""
        if self.before is None:
            return ""
        told = compare(self.before, self.kernel_class)
        return f"this machine's kernels changed since the last start, from {self.before} to {self.kernel_class}: {told}"


@cache
def find() -> Found:
    """The class of this machine, kept or measured now. DeviceError where no interpreter is installed."""
    return find_in(folder())


def here() -> KernelClass:
    """The same without its past."""
    return find().kernel_class


@cache
def told() -> KernelClass | None:
    """The class for a program that goes on without it: None, with a warning, where it cannot be measured. The first
    call also warns of a class that changed since the last start."""
    try:
        found = find()
    except errors.DeviceError as problem:
        log.warning("kernel class not known reason=%s", problem)
        return None
    if found.change:
        log.warning("kernel class changed reason=%s", found.change)
    return found.kernel_class


def find_in(place: Path, measure: Callable[[], KernelClass] = probe.measure) -> Found:
    """As `find`, kept in a folder of the caller's, without a memory of its own."""
    key = _key()
    kept_key, kept = _read(place / FILE)
    if kept is not None and kept_key == key:
        return Found(kept)
    measured = measure()
    if measured.operators:  # else nothing was found out, and the next start may have more luck
        _write(place, key, measured)
    return Found(measured, kept if kept is not None and kept.id != measured.id else None)


def folder(environment: Mapping[str, str] = os.environ) -> Path:
    """A service's cache directory if systemd made one, else `tflsplit` in that of the user."""
    of_service = environment.get("CACHE_DIRECTORY", "").partition(":")[0]
    if os.path.isabs(of_service):
        return Path(of_service)
    chosen = environment.get("XDG_CACHE_HOME", "")
    home = environment.get("HOME") or os.path.expanduser("~")
    # A user that is in no list of users has no home: "~" stays as it is, and is a folder that cannot be written.
    return (Path(chosen) if os.path.isabs(chosen) else Path("/", home, ".cache")) / "tflsplit"


def _key() -> str:
    """Everything by which a runtime may pick its kernels, and the probe itself. An exchanged build of the same version
    is seen by its time."""
    told = [_FORMAT, probe.runtime_version(), processor.machine(), processor.identity()]
    for file in (Path(interpreter.runtime().__file__), probe.PIECES):
        with contextlib.suppress(OSError):
            told += [file.stat().st_size, file.stat().st_mtime_ns]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _read(file: Path) -> tuple[str, KernelClass | None]:
    try:
        with file.open("rb") as opened:
            fields = strict_json.parse_object(opened.read(_MOST_BYTES))
        return str(fields["key"]), KernelClass.from_json(fields["class"])
    except (OSError, ValueError, KeyError):
        return "", None


def _write(place: Path, key: str, found: KernelClass) -> None:
    import tempfile

    text = json.dumps({"key": key, "class": found.as_json()})
    with contextlib.suppress(OSError):
        place.mkdir(parents=True, exist_ok=True)
        descriptor, partial = tempfile.mkstemp(prefix=".", dir=place)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
                opened.write(text)
            os.replace(partial, place / FILE)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(partial)
