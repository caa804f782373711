"""Keeps what the interpreter says on stderr when its first model is opened from the lines of our commands.

"INFO: Created TensorFlow Lite XNNPACK delegate for CPU." is written by C++, once in a process, and no setting turns it
off. Python cannot see it, so descriptor 2 is a file in memory meanwhile. All other lines come out afterwards.
"""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_INFO = b"INFO: "


class _Seen:
    is_over = False


_LOCK = threading.Lock()


@contextmanager
def without_info() -> Iterator[None]:
    """Within the block lines of mere information are left out, until there was one. Errors are shown after it."""
    if _Seen.is_over or not hasattr(os, "memfd_create"):
        yield
        return
    with _LOCK:
        sys.stderr.flush()
        kept, said = os.dup(2), os.memfd_create("stderr")
        os.dup2(said, 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            _show(_read(said))


def _read(said: int) -> bytes:
    os.lseek(said, 0, os.SEEK_SET)
    with os.fdopen(said, "rb") as lines:
        return lines.read()


def _show(said: bytes) -> None:
    lines = said.splitlines(keepends=True)
    _Seen.is_over = any(line.startswith(_INFO) for line in lines)
    if left := b"".join(line for line in lines if not line.startswith(_INFO)):
        os.write(2, left)
