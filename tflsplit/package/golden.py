"""Golden samples: a few inputs and what the int8 model makes of them on a CPU. A device tests a head with them.

golden.npz    `input/N` and `<cut>/N`, an array for each tensor with the samples as its first axis, and `made_on`, the
              kernel class of the machine that computed them, as JSON

A package holds the model's outputs, a bundle for the edge the boundaries of its cuts. This module owns the format. The
same samples give the same bytes on the same machine, so that a bundle that is made twice is one bundle.
"""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tflsplit import errors, strict_json
from tflsplit.graph.cuts import Cut
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import Array, TensorSpec, payload_bytes
from tflsplit.inputs import array_files
from tflsplit.kernels import keeping
from tflsplit.kernels.classes import KernelClass
from tflsplit.package import verify
from tflsplit.package.reading import GOLDEN, Package

MOST_SAMPLES = 4
# Heads have some hundred kilobytes; golden samples should not be what makes an update large.
_MOST_BYTES = 1 << 20
_MADE_ON = "made_on"


@dataclass(frozen=True, slots=True, eq=False)
class Golden:
    """`samples` pairs the model's inputs with the boundary expected of them. `made_on` is the class of the
    machine that computed it: where that agrees in a head's operators, every bit must; others may round differently.
    None in packages of before there were classes."""

    samples: tuple[tuple[tuple[Array, ...], tuple[Array, ...]], ...]
    made_on: KernelClass | None


def of_model(model: bytes, wanted: Cut, inputs: Sequence[tuple[Array, ...]], made_on: KernelClass) -> bytes:
    """The file of a package: `wanted` is its cut `output`. Of the inputs (as stored), the first few are taken.
    `made_on` is this machine's class, given since a process without rights cannot find it out."""
    return _render({wanted: model}, inputs, made_on)


def of_heads(whole: Package, wanted: Sequence[Cut]) -> bytes:
    """The file of an edge's bundle, from the package's own samples, or random inputs where it has none."""
    kept = read(whole, whole.cut("output"))
    inputs = (
        [taken for taken, _ in kept.samples] if kept else verify.random_samples(whole.manifest.inputs, MOST_SAMPLES)
    )
    return _render({cut: whole.head_bytes(cut) for cut in wanted}, inputs, keeping.here())


def read(opened: Package, cut: Cut) -> Golden | None:
    """What the package holds for a cut; None if nothing. PackageError if it is not what the manifest describes."""
    if GOLDEN not in opened.manifest.files:
        return None
    try:
        with zipfile.ZipFile(opened.path / GOLDEN) as archive:
            if f"{cut.id}/0.npy" not in archive.namelist():
                return None
            inputs = _columns(archive, "input", opened.manifest.inputs)
            expected = _columns(archive, cut.id, cut.boundary)
            made_on = _class(_array(archive, _MADE_ON).tobytes())
            samples = tuple(zip(zip(*inputs, strict=True), zip(*expected, strict=True), strict=True))
    except (KeyError, *array_files.DAMAGE) as cause:
        raise errors.PackageError(
            f"{opened.path}: {GOLDEN} cannot be read ({cause}); make the package again"
        ) from cause
    return Golden(samples, made_on)


def _render(heads: Mapping[Cut, bytes], inputs: Sequence[tuple[Array, ...]], made_on: KernelClass) -> bytes:
    sample_bytes = sum(array.nbytes for array in inputs[0]) + sum(payload_bytes(cut.boundary) for cut in heads)
    taken = inputs[: max(1, min(MOST_SAMPLES, _MOST_BYTES // max(sample_bytes, 1)))]
    arrays = {_MADE_ON: np.frombuffer(json.dumps(made_on.as_json()).encode(), np.uint8)} | _stacked("input", taken)
    for cut, head in heads.items():
        with Interpreter(head, name=f"head of {cut.id}") as opened:
            arrays |= _stacked(cut.id, [opened.run(*sample) for sample in taken])
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, array in arrays.items():
            entry = io.BytesIO()
            np.lib.format.write_array(entry, array, version=(1, 0), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), entry.getvalue())  # numpy.savez would write the time in
    return stream.getvalue()


def _stacked(name: str, rows: Sequence[tuple[Array, ...]]) -> dict[str, Array]:
    return {f"{name}/{place}": np.stack(column) for place, column in enumerate(zip(*rows, strict=True))}


def _class(text: bytes) -> KernelClass | None:
    # Earlier versions wrote machine, runtime and version in words.
    return KernelClass.from_json(strict_json.parse_object(text)) if text.startswith(b"{") else None


def _columns(archive: zipfile.ZipFile, name: str, specs: Sequence[TensorSpec]) -> tuple[Array, ...]:
    columns = tuple(_array(archive, f"{name}/{place}") for place in range(len(specs)))
    for place, (spec, column) in enumerate(zip(specs, columns, strict=True)):
        if (
            column.shape[1:] != spec.shape
            or column.dtype != np.dtype(spec.dtype)
            or not 1 <= len(column) <= MOST_SAMPLES
        ):
            raise ValueError(
                f"{name}/{place} is {column.dtype} {column.shape}, samples of {spec.dtype} {spec.shape} expected"
            )
    return columns


def _array(archive: zipfile.ZipFile, name: str) -> Array:
    """The header is checked before anything is allocated: a short file can state any shape, or unpack to any size."""
    entry = archive.getinfo(f"{name}.npy")
    if entry.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed")
    stream: Any = io.BytesIO(archive.read(entry))
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError(f"{name} is no array")
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    data = stream.read()
    if is_fortran or dtype.hasobject or len(data) != dtype.itemsize * int(np.prod(shape, dtype=object)):
        raise ValueError(f"{name} states {dtype} {shape} and holds {len(data)} bytes")
    array: Array = np.frombuffer(data, dtype).reshape(shape)
    return array
