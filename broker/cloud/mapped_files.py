"""Tails as files, so that all workers map the same pages: those in a package as they are, others written once."""

import contextlib
import os
import tempfile
from pathlib import Path

from tflsplit.graph.cuts import Cut
from tflsplit.package.reading import Package


class TailFiles:
    """`folder` is private to one dispatcher and its workers, and goes with it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, package: Package, cut: Cut) -> Path:
        """The tail that serves frames of this cut, sliced now if it was not yet. CutError where there is none."""
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
        # Whoever comes second keeps the first one's file: two files would be in memory twice.
        with contextlib.suppress(FileExistsError):
            os.link(name, path)
        os.unlink(name)
