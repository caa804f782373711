"""How many frames a spool should hold, written beside it: rows that vanish without a trace are missed.

Written without waiting for the disk, after a row was added and before one is removed. So a killed process leaves a
number that is right or too low, never too high. After a power cut it may be of any age, and does not count; so it names
the start of the machine that it belongs to, and whether the spool was closed in good order.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tflsplit import errors

_FORM = struct.Struct("<8s16s?QQQ")
_CRC = struct.Struct("<I")
_MAGIC = b"tfTally1"
_MACHINE = Path("/proc/sys/kernel/random/boot_id")


Key = tuple[int, int]


class Tally:
    """Open until `close`. `held` frames were expected at opening, None if that cannot be told; `last` is the boot and
    the sequence of the newest. DeviceError if the disk fails."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._machine = _start_of_machine()
        with self._mapped_errors():
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self.held, self.last = self._read()

    def note(self, held: int, last: Key) -> None:
        self._write(held, last, is_closed=False)

    def begin(self, held: int, last: Key) -> None:
        """`note`, on the disk."""
        self.note(held, last)
        with self._mapped_errors():
            os.fsync(self._file)

    def close(self, held: int, last: Key) -> None:
        try:
            self._write(held, last, is_closed=True)
            with self._mapped_errors():
                os.fsync(self._file)
        finally:
            os.close(self._file)

    def _read(self) -> tuple[int | None, Key]:
        data = os.pread(self._file, _FORM.size + _CRC.size, 0)
        if len(data) < _FORM.size + _CRC.size or _CRC.unpack_from(data, _FORM.size) != (
            zlib.crc32(data[: _FORM.size]),
        ):
            return None, (0, 0)
        magic, machine, is_closed, held, *last = _FORM.unpack_from(data)
        is_known = magic == _MAGIC and (is_closed or machine == self._machine)
        return (held, (last[0], last[1])) if is_known else (None, (0, 0))

    def _write(self, held: int, last: Key, *, is_closed: bool) -> None:
        data = _FORM.pack(_MAGIC, self._machine, is_closed, held, *last)
        with self._mapped_errors():
            os.pwrite(self._file, data + _CRC.pack(zlib.crc32(data)), 0)

    @contextmanager
    def _mapped_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as problem:
            raise errors.DeviceError(
                f"spool {self._path}: {problem.strerror}; is the disk there and writable?"
            ) from problem


def _start_of_machine() -> bytes:
    try:
        return bytes.fromhex(_MACHINE.read_text("ascii").strip().replace("-", ""))
    except (OSError, ValueError):
        return os.urandom(16)  # one that fits no other
