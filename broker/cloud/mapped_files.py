"""Tails and segments as files, so that all workers map the same memory: the package's, or sliced and written once."""

import contextlib
import os
import tempfile
from pathlib import Path

from tflsplit.graph import cuts as graph_cuts
from tflsplit.graph.cuts import Cut
from tflsplit.package.reading import Package


class TailFiles:
    """`folder` belongs to one dispatcher and its workers, which removes it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, package: Package, start: Cut, stop: Cut | None = None) -> Path:
        """The file of what lies between two cuts, or of the tail of `start`; it is sliced now if need be. CutError
        where that has no tail."""
        if stop is None:
            package.check_has_tail(start)
        written = package.file(start, "tail") if stop is None else None
        if written is not None:
            return package.path / written
        path = self._folder / f"{package.digest[:32]}-{start.id}{f'-{stop.id}' if stop else ''}.tflite"
        if not path.exists():
            self._write(path, sliced(package, start, stop))
        return path

    def _write(self, path: Path, tail: bytes) -> None:
        descriptor, name = tempfile.mkstemp(dir=self._folder)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(tail)
        # If two workers write it, both use the first one's file, so that it is in memory once.
        with contextlib.suppress(FileExistsError):
            os.link(name, path)
        os.unlink(name)


def sliced(package: Package, start: Cut, stop: Cut | None) -> bytes:
    """The model between two cuts, or the tail of `start`."""
    return package.tail_bytes(start) if stop is None else graph_cuts.middle_bytes(package.graph, start, stop)
