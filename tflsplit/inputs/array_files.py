"""Arrays from `.npy` and `.npz` files, whose sizes are looked at before memory is taken for them.

A `.npy` file is mapped: however large, only what is used of it is read. An `.npz` has to be unpacked, and zeros pack a
thousandfold, so what it says it holds is bounded.
"""

import math
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from tflsplit import errors
from tflsplit.graph.tensors import Array

MOST_UNPACKED_BYTES = 1 << 30  # 1,700 pictures of 224 x 224 as floats; larger sets are better kept as .npy
# What numpy and zipfile raise for bytes that are no array, or no archive.
DAMAGE = (
    OSError,
    ValueError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
    RuntimeError,
    TypeError,
    OverflowError,
    MemoryError,
    tokenize.TokenError,
)  # fmt: skip - a table
_ARCHIVES = (b"PK\x03\x04", b"PK\x05\x06")  # the second holds nothing
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # all that numpy writes
Choose = Callable[[tuple[str, ...]], Iterable[str]]
_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read(path: Path, chosen: Choose = tuple) -> "Array | Mapping[str, Array]":
    """What a file holds, whatever its name ends in: one array, or those of an archive by name."""
    with _refused(path, "numpy arrays"), path.open("rb") as stream:
        is_archive = stream.read(4) in _ARCHIVES
    return read_npz(path, chosen) if is_archive else read_npy(path)


def read_npy(path: Path) -> Array:
    """The array of a file; DataError for what is none, or holds Python objects."""
    with _refused(path, ".npy"), path.open("rb") as stream:
        if stream.read(4) in _ARCHIVES:
            raise errors.DataError(f"{path}: an archive named .npy; name it .npz")
        stream.seek(0)
        shape, dtype = _header(stream)
        if 0 in shape:
            return np.empty(shape, dtype)
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


def read_npz(path: Path, chosen: Choose = tuple) -> Mapping[str, Array]:
    """The arrays of an archive by name, as `chosen` picks and orders them out of its names; others are not opened.
    DataError for those that would take too much memory."""
    with _refused(path, ".npz"), zipfile.ZipFile(path) as archive:
        found = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
        members = {name: found[name] for name in chosen(tuple(found))}
        left = MOST_UNPACKED_BYTES
        for name, entry in members.items():
            if entry.compress_type not in _PACKED:
                raise ValueError(f"array {name!r} is packed in a way that numpy never does")
            with archive.open(entry) as stream:
                shape, dtype = _header(stream)
            size = math.prod(shape) * dtype.itemsize
            left -= size
            if left < 0:
                raise errors.DataError(
                    f"{path}: array {name!r} of shape {shape} and those before it take more than "
                    f"{MOST_UNPACKED_BYTES:,} bytes unpacked; keep it as .npy, which is read as needed"
                )
        return {name: _array(archive, entry) for name, entry in members.items()}


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], "np.dtype[Any]"]:
    version = np.lib.format.read_magic(stream)
    if version not in _READERS:
        raise ValueError(f"an array of version {version}")
    shape, _, dtype = _READERS[version](stream)
    if dtype.hasobject or any(extent < 0 for extent in shape):
        raise ValueError(f"an array of {dtype} and shape {shape}")
    return shape, dtype


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Array:
    with archive.open(entry) as stream:
        array: Array = np.lib.format.read_array(stream, allow_pickle=False)
    return array


@contextmanager
def _refused(path: Path, kind: str) -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            # Numpy warns of arrays that Python 2 wrote, which are read all the same.
            warnings.simplefilter("ignore", UserWarning)
            yield
    except DAMAGE as cause:
        raise errors.DataError(f"{path}: cannot be read as {kind} ({errors.one_line(cause)})") from cause
