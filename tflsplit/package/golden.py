"""Golden samples: a few inputs and what the int8 model makes of them on a CPU. A device tests a head with them.

golden.npz    `input/N` and `<cut>/N`, an array for each tensor with the samples as its first axis, and `made_on`, the
              kernel class of the machine that computed them, as JSON. In a bundle for the edge also, for each cut:
              `<cut>.builtin/N`, `<cut>.reference/N`, what other kernels of that machine make of it, and
              `<cut>/operators`, `<cut>/alone`, `<cut>/there`, what its operators compute by themselves, in all three
              (`tflsplit.package.alone`)

A package holds the model's outputs, a bundle for the edge the boundaries of its cuts. This module owns the format. The
same samples give the same bytes on the same machine, so that a bundle that is made twice is one bundle.
"""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tflsplit import errors, strict_json
from tflsplit.graph.cuts import Cut
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import Array, TensorSpec, payload_bytes
from tflsplit.inputs import array_files
from tflsplit.kernels import keeping
from tflsplit.kernels.classes import KernelClass
from tflsplit.package.reading import GOLDEN, Package

if TYPE_CHECKING:  # an edge that starts only reads samples
    from tflsplit.package.alone import Operator, Rows
from tflsplit.values.classes import dataclass

MOST_SAMPLES = 8
# Heads have some hundred kilobytes; golden samples should not be what makes an update large.
_MOST_BYTES = 3 << 18
_MADE_ON = "made_on"


@dataclass(frozen=True, slots=True, eq=False)
class Golden:
    """`samples` pairs the model's inputs with the boundary expected of them. `made_on` is the class of the
    machine that computed it: where that agrees in a head's operators, every bit must; others may round differently.
    None in packages of before there were classes. `others` are what the other kernels of that machine make of the same
    inputs, and `alone` what each of `operators` computes by itself, in the version of `samples` first; empty where they
    were not made."""

    samples: tuple[tuple[tuple[Array, ...], tuple[Array, ...]], ...]
    made_on: KernelClass | None
    others: tuple[tuple[tuple[Array, ...], ...], ...] = ()
    operators: "tuple[Operator, ...]" = ()
    alone: "tuple[tuple[Rows, ...], ...]" = ()


def of_model(model: bytes, wanted: Cut, real: Sequence[tuple[Array, ...]], made_on: KernelClass) -> bytes:
    """The file of a package: `wanted` is its cut `output`, `real` inputs as stored, if there are any; the others are
    chosen for it. `made_on` is this machine's class, given since a process without rights cannot find it out."""
    from tflsplit.package import revealing

    inputs = _few(revealing.of_model(model, real, MOST_SAMPLES), [wanted])
    with Interpreter(model, name="model") as opened:
        return _render(made_on, inputs, {wanted.id: [opened.run(*sample) for sample in inputs]}, {})


def of_heads(whole: Package, wanted: Sequence[Cut]) -> bytes:
    """The file of an edge's bundle, from the package's own samples, or chosen ones where it has none."""
    from tflsplit.package import alone, revealing, versions

    kept = read(whole, whole.cut("output"))
    inputs = [taken for taken, _ in kept.samples] if kept else revealing.of_model(whole.model_bytes(), (), MOST_SAMPLES)
    inputs = _few(inputs, wanted)
    heads = [whole.head_bytes(cut) for cut in wanted]
    boundaries: dict[str, Sequence[tuple[Array, ...]]] = {}
    more: dict[str, Array] = {}
    for cut, head, others in zip(wanted, heads, versions.others(heads, inputs), strict=True):
        made = versions.serving(head, inputs)
        boundaries[cut.id] = made.boundaries
        planned = alone.plan(head)
        more[f"{cut.id}/operators"] = np.frombuffer(alone.as_json(planned), np.uint8)
        rows = [made.alone, *(other.alone for other in others.values())]
        more[f"{cut.id}/alone"], more[f"{cut.id}/there"] = alone.packed(planned, rows)
        for kernels, other in others.items():
            boundaries[f"{cut.id}.{kernels.name.lower()}"] = other.boundaries
    return _render(keeping.here(), inputs, boundaries, more)


def _few(inputs: Sequence[tuple[Array, ...]], cuts: Sequence[Cut]) -> Sequence[tuple[Array, ...]]:
    from tflsplit.package import versions

    sample_bytes = sum(array.nbytes for array in inputs[0])
    sample_bytes += (1 + len(versions.OTHERS)) * sum(payload_bytes(cut.boundary) for cut in cuts)
    return inputs[: max(1, min(MOST_SAMPLES, _MOST_BYTES // max(sample_bytes, 1)))]


def read(opened: Package, cut: Cut, *, samples_only: bool = False) -> Golden | None:
    """What the package holds for a cut, all of it or without what other kernels make of the samples; None if nothing.
    PackageError if it is not what the manifest describes."""
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
            more = ((), (), ()) if samples_only else _versions(archive, cut, len(samples))
    except (KeyError, *array_files.DAMAGE) as cause:
        raise errors.PackageError(
            f"{opened.path}: {GOLDEN} cannot be read ({errors.one_line(cause)}); make the package again"
        ) from cause
    return Golden(samples, made_on, *more)


def _render(
    made_on: KernelClass,
    inputs: Sequence[tuple[Array, ...]],
    boundaries: Mapping[str, Sequence[tuple[Array, ...]]],
    more: Mapping[str, Array],
) -> bytes:
    arrays = {_MADE_ON: np.frombuffer(json.dumps(made_on.as_json()).encode(), np.uint8)} | _stacked("input", inputs)
    for name, made in boundaries.items():
        arrays |= _stacked(name, made)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, array in {**arrays, **more}.items():
            entry = io.BytesIO()
            np.lib.format.write_array(entry, array, version=(1, 0), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), entry.getvalue())  # numpy.savez would write the time in
    return stream.getvalue()


def _stacked(name: str, rows: Sequence[tuple[Array, ...]]) -> dict[str, Array]:
    return {f"{name}/{place}": np.stack(column) for place, column in enumerate(zip(*rows, strict=True))}


def _class(text: bytes) -> KernelClass | None:
    # Earlier versions wrote machine, runtime and version in words.
    return KernelClass.from_json(strict_json.parse_object(text)) if text.startswith(b"{") else None


def _versions(
    archive: zipfile.ZipFile, cut: Cut, count: int
) -> "tuple[tuple[tuple[tuple[Array, ...], ...], ...], tuple[Operator, ...], tuple[tuple[Rows, ...], ...]]":
    from tflsplit.package import alone, versions

    there = set(archive.namelist())
    names = [f"{cut.id}.{kernels.name.lower()}" for kernels in versions.OTHERS]
    names = [name for name in names if f"{name}/0.npy" in there]
    others = tuple(tuple(zip(*_columns(archive, name, cut.boundary), strict=True)) for name in names)
    if any(len(each) != count for each in others):
        raise ValueError("other kernels have other samples")
    if f"{cut.id}/operators.npy" not in there:
        return others, (), ()
    operators = alone.from_json(strict_json.parse(_array(archive, f"{cut.id}/operators").tobytes()))
    stored, has = (_array(archive, f"{cut.id}/{name}") for name in ("alone", "there"))
    return others, operators, alone.unpacked(stored, has, operators)


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
