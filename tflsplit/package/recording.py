"""A record of one machine: what its heads make of many inputs, to be compared with another machine's.

A zip file of `record.json` (format, package digest, kernel class, versions, cuts, how the inputs were made) and, as raw
bytes, a tensor after the other: `<cut>/N`, each with the samples as its first axis; `inputs/N` unless both sides can
make them; `outputs/N` where the whole model was at hand. This module owns the format.
"""

import hashlib
import json
import sys
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tflsplit import errors, strict_json
from tflsplit.graph.cuts import Cut
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import Array, TensorSpec
from tflsplit.kernels import keeping
from tflsplit.kernels.classes import KernelClass
from tflsplit.package import judging, revealing, steps
from tflsplit.package.manifest import Role
from tflsplit.package.reading import MODEL, Package
from tflsplit.package.steps import Apart
from tflsplit.values.classes import dataclass

_FORMAT = 1
_HEADER = "record.json"
_HEADER_BYTES = 1 << 20
_MOST_SAMPLES = 10_000

Sample = tuple[Array, ...]

# What zipfile and the checks below raise for files that were cut short, changed, or are something else.
_DAMAGE = (ValueError, KeyError, TypeError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """`boundaries` by cut id; `outputs` are those of the whole model there, None where only heads were."""

    inputs: tuple[Sample, ...]
    boundaries: dict[str, tuple[Sample, ...]]
    outputs: tuple[Sample, ...] | None
    kernel_class: KernelClass
    versions: dict[str, str]


@dataclass(frozen=True, slots=True)
class Pair:
    """One cut over two machines: how far the boundaries are apart, and the results: tail here on the boundary from
    there against the whole model here, or there if it is not here. None where that side of it is in neither place.
    `is_expected_equal` says that the kernel classes promise equal boundaries."""

    cut: str
    boundary: Apart | None
    result: Apart | None
    is_expected_equal: bool

    @property
    def is_equal(self) -> bool:
        return all(found is None or found.is_equal for found in (self.boundary, self.result))

    @property
    def is_wrong(self) -> bool:
        return self.is_expected_equal and not self.is_equal

    def as_json(self) -> dict[str, object]:
        return {
            "cut": self.cut,
            "boundary": None if self.boundary is None else self.boundary.as_json(),
            "result": None if self.result is None else self.result.as_json(),
            "expected_equal": self.is_expected_equal,
        }


def heads_of(opened: Package, wanted: str) -> tuple[Cut, ...]:
    """The cuts among `wanted` whose head is in a bundle or package; PackageError if there is none."""
    found = tuple(cut for cut in opened.select(wanted) if cut.position > 0 and opened.has(cut, "head"))
    if not found:
        raise errors.PackageError(
            f"{opened.path}: has no head of {wanted} to run; use the edge's bundle or the package"
        )
    return found


def write(
    file: Path,
    opened: Package,
    cuts: Sequence[Cut],
    given: Sequence[Sample] | int,
    *,
    on_cut: Callable[[Cut], None] = lambda cut: None,
) -> int:
    """Records this machine; `given` are inputs, or how many to make. Returns the bytes written."""
    inputs = revealing.made(opened.manifest.inputs, given) if isinstance(given, int) else given
    parts = {} if isinstance(given, int) else _parts("inputs", inputs)
    for cut in cuts:
        parts |= _parts(cut.id, _run(opened.head_bytes(cut), f"head of {cut.id}", inputs))
        on_cut(cut)
    if MODEL in opened.manifest.files:
        parts |= _parts("outputs", _run(opened.model_bytes(), MODEL, inputs))
    header = {
        "format": _FORMAT,
        "digest": opened.digest,
        "samples": len(inputs),
        "inputs_sha256": _digest(inputs),
        "kernel_class": keeping.here().as_json(),
        "versions": {"python": sys.version.split()[0], "numpy": np.__version__},
        "cuts": [cut.id for cut in cuts],
    }
    try:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(_HEADER, json.dumps(header))
            for name, data in parts.items():
                archive.writestr(name, data)
        return file.stat().st_size
    except OSError as cause:
        raise errors.DeviceError(f"{file}: cannot be written ({cause.strerror}); name another file") from cause


def read(file: Path, opened: Package) -> Record:
    """DataError for what is no whole record of this package."""
    try:
        with zipfile.ZipFile(file) as archive:
            return _record(archive, opened, str(file))
    except errors.TflsplitError:
        raise
    except OSError as cause:
        raise errors.DataError(f"{file}: cannot be read ({cause.strerror or cause})") from cause
    except _DAMAGE as cause:
        reason = errors.one_line(cause)
        raise errors.DataError(f"{file}: no whole record ({reason}); make it again with `verify --record`") from cause


def compare(record: Record, opened: Package, *, on_cut: Callable[[str], None] = lambda cut: None) -> tuple[Pair, ...]:
    """Every recorded cut with what this machine has: heads, tails, the whole model. PackageError if that is nothing."""
    is_whole = MODEL in opened.manifest.files and opened.manifest.role is not Role.EDGE
    expected = _run(opened.model_bytes(), MODEL, record.inputs) if is_whole else record.outputs
    here, found = keeping.here(), []
    for name, boundaries in record.boundaries.items():
        cut = opened.cut(name)
        has_head, has_tail = opened.has(cut, "head"), opened.has(cut, "tail") or is_whole
        boundary = result = None
        is_exact = False
        if has_head:
            boundary = steps.apart(boundaries, _run(opened.head_bytes(cut), f"head of {name}", record.inputs))
            is_exact = judging.are_same(record.kernel_class, here, opened, cut)
        if has_tail and expected is not None:
            result = steps.apart(_run(opened.integer_tail_bytes(cut), f"tail of {name}", boundaries), expected)
        if boundary is None and result is None:
            raise errors.PackageError(
                f"{opened.path}: has neither the head of {name}, nor its tail with results to compare; use the package"
            )
        found.append(Pair(name, boundary, result, is_exact))
        on_cut(name)
    return tuple(found)


def _record(archive: zipfile.ZipFile, opened: Package, name: str) -> Record:
    header = strict_json.parse_object(_data(archive, _HEADER, _HEADER_BYTES, is_exact=False))
    if header.get("format") != _FORMAT:
        found = str(header.get("format"))[:20]
        raise errors.DataError(
            f"{name}: a record of format {found}, this tflsplit reads {_FORMAT}; record it with the same version"
        )
    if header["digest"] != opened.digest:
        raise errors.DataError(
            f"{name}: recorded with another package (digest {str(header['digest'])[:16]}, "
            f"{opened.path} has {opened.digest[:16]}); use the package that the bundle was made of"
        )
    count = header["samples"]
    if not isinstance(count, int) or not 1 <= count <= _MOST_SAMPLES:
        raise ValueError(f"{str(count)[:20]} samples")
    made_of = opened.manifest
    cuts = {str(each): opened.cut(str(each)) for each in header["cuts"]}
    if not cuts:
        raise ValueError("no cut")
    boundaries = {each: _samples(archive, each, cut.boundary, count) for each, cut in cuts.items()}
    there = set(archive.namelist())
    if "inputs/0" in there:
        inputs = _samples(archive, "inputs", made_of.inputs, count)
    else:
        inputs = tuple(revealing.made(made_of.inputs, count))
    if _digest(inputs) != header["inputs_sha256"]:
        raise errors.DataError(
            f"{name}: its inputs are others than are made here, with another numpy; record a file: --samples FILE.npy"
        )
    outputs = _samples(archive, "outputs", made_of.outputs, count) if "outputs/0" in there else None
    versions = {str(key): str(value) for key, value in dict(header["versions"]).items()}
    return Record(inputs, boundaries, outputs, KernelClass.from_json(header["kernel_class"]), versions)


def _run(model: bytes, name: str, inputs: Sequence[Sample]) -> tuple[Sample, ...]:
    with Interpreter(model, name=name) as opened:
        return tuple(opened.run(*sample) for sample in inputs)


def _parts(name: str, samples: Sequence[Sample]) -> dict[str, bytes]:
    return {
        f"{name}/{place}": b"".join(array.tobytes() for array in column)
        for place, column in enumerate(zip(*samples, strict=True))
    }


def _samples(archive: zipfile.ZipFile, name: str, specs: Sequence[TensorSpec], count: int) -> tuple[Sample, ...]:
    columns = []
    for place, spec in enumerate(specs):
        data = _data(archive, f"{name}/{place}", count * spec.bytes)
        columns.append(np.frombuffer(data, spec.dtype).reshape(count, *spec.shape))
    return tuple(zip(*columns, strict=True))


def _data(archive: zipfile.ZipFile, name: str, size: int, *, is_exact: bool = True) -> bytes:
    """A small file can unpack to any size: no more is read than there should be."""
    with archive.open(name) as stream:
        data = stream.read(size + 1)
    if len(data) > size or (is_exact and len(data) < size):
        raise ValueError(f"{name} has {len(data)} bytes{' or more' if len(data) > size else ''}, expected {size}")
    return data


def _digest(samples: Sequence[Sample]) -> str:
    summed = hashlib.sha256()
    for sample in samples:
        for array in sample:
            summed.update(array.tobytes())
    return summed.hexdigest()


def as_json(record: Record, pairs: Sequence[Pair], here: KernelClass) -> dict[str, Any]:
    return {
        "samples": len(record.inputs),
        "equal": all(pair.is_equal for pair in pairs),
        "cuts": [pair.as_json() for pair in pairs],
        "recorded_on": record.kernel_class.as_json(),
        "recorded_with": record.versions,
        "kernel_class": here.as_json(),
    }
