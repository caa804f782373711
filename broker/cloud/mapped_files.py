"""Tails as files, so that all workers map the same memory: from the package, or sliced and written once."""

import contextlib
import os
import tempfile
from pathlib import Path

from tflsplit.graph.cuts import Cut
from tflsplit.package.reading import Package


class TailFiles:
    """`folder` belongs to one dispatcher and its workers, which removes it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, package: Package, cut: Cut) -> Path:
        """The file of a cut's tail, which is sliced now if need be. CutError if the cut has no tail."""
        package.check_has_tail(cut)
        written = package.file(cut, "tail")
        if written is not None:
            return package.path / written
        path = self._folder / f"{package.digest[:32]}-{cut.id}.tflite"
        if not path.exists():
            self._write(path, package.tail_bytes(cut))
        return path

    def _write(self, path: Path, tail: bytes) -> None:
        descriptor, name = tempfile.mkstemp(dir=self._folder)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(tail)
        # If two workers write it, both use the first one's file, so that it is in memory once.
        with contextlib.suppress(FileExistsError):
            os.link(name, path)
        os.unlink(name)
