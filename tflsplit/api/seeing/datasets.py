"""Samples with what is true of them: a folder for each class, labels beside arrays, or columns of a table."""

import csv
from pathlib import Path

import numpy as np

from tflsplit import errors
from tflsplit.graph.meanings import Meaning
from tflsplit.graph.tensors import Array
from tflsplit.inputs import array_files, pictures, samples, tables, truths
from tflsplit.inputs.samples import Samples
from tflsplit.package import outputs
from tflsplit.package.manifest import Manifest
from tflsplit.package.reading import Package
from tflsplit.values.classes import dataclass


@dataclass(frozen=True, slots=True)
class Dataset:
    """`labels` are the true classes by name, or `numbers` (samples, numbers) what is to be regressed; never both."""

    rows: Samples
    labels: tuple[str, ...] | None
    numbers: "Array | None"

    @property
    def are_files(self) -> bool:
        return not isinstance(self.rows.columns[0], np.ndarray)


def read(package: Package, path: Path) -> Dataset:
    """DataError for samples whose truth is not there, or is none for this model."""
    manifest = package.manifest
    samples.check_kind(path)
    if path.suffix.lower() == ".csv":
        return _of_table(manifest, path)
    rows = _rows(manifest, path)
    if classes_in(manifest) is not None:
        labels, remark = classes_of(package, path, rows)
        if labels is None:
            said = remark or f"{path}: does not say what is true"
            raise errors.DataError(f"{said}; give a folder for each class, or an .npz with an array `labels`")
        return Dataset(rows, labels, None)
    arrays = array_files.read_npz(path) if path.suffix.lower() == ".npz" else {}
    name = next((each for each in truths.BESIDE if each in arrays and each not in (rows.names or ())), None)
    if name is None:
        raise errors.DataError(
            f"{path}: does not say what is true; give an .npz with an array `labels` beside the inputs, or a .csv"
        )
    return Dataset(rows, None, _numbers(manifest, str(path), arrays[name], len(rows)))


def _rows(manifest: Manifest, path: Path) -> Samples:
    """Of a model of one input that may be called anything in an archive, if nothing but the truth is beside it."""
    if path.suffix.lower() == ".npz" and len(manifest.inputs) == 1:
        others = {name: array for name, array in array_files.read_npz(path).items() if name not in truths.BESIDE}
        if len(others) == 1:
            return Samples(str(path), tuple(others.values()), (manifest.inputs[0].name,))
    return samples.read(path, manifest.inputs)


def classes_in(manifest: Manifest) -> int | None:
    """How many classes the answer is one of; None for a model that regresses. DataError for any other."""
    told = outputs.told(manifest)
    if manifest.decoding is not None or Meaning.MULTI_LABEL in told:
        what = "several labels at once" if manifest.decoding is None else manifest.decoding.task.value
        raise errors.DataError(
            f"package {manifest.name}: its task is {what}, and evaluate counts answers of one class and errors of "
            "numbers; look at single answers with `tflsplit predict`"
        )
    place = next((place for place, meaning in enumerate(told) if meaning is not Meaning.VALUES), None)
    if place is None:
        return None
    return 2 if told[place] is Meaning.SIGMOID else manifest.outputs[place].elements


def classes_of(package: Package, path: Path, rows: Samples) -> tuple[tuple[str, ...] | None, str]:
    """The classes of all samples, None where they are not known, and what there is to say of that."""
    manifest, column = package.manifest, rows.columns[0]
    classes = classes_in(manifest) or 0
    if path.is_dir() and not isinstance(column, np.ndarray):
        return truths.of_folders(path, column, manifest.labels, classes)
    arrays = array_files.read_npz(path) if path.suffix.lower() == ".npz" else {}
    beside = {name: array for name, array in arrays.items() if name not in (rows.names or ())}
    found = truths.of_arrays(path, beside, manifest.labels, classes)
    if found is not None and len(found) != len(rows):
        raise errors.DataError(f"{path}: {len(found)} classes beside {len(rows)} samples; give one for each")
    return found, ""


def _of_table(manifest: Manifest, path: Path) -> Dataset:
    """A row a sample: the name of a picture, or the input's numbers; and behind them a class, or what is regressed."""
    if len(manifest.inputs) != 1:
        raise errors.DataError(
            f"{path}: the model has {len(manifest.inputs)} inputs; give an .npz with an array for each"
        )
    classes, spec = classes_in(manifest), manifest.inputs[0]
    told = 1 if classes is not None else sum(output.elements for output in manifest.results)
    if pictures.is_picture(spec.shape):
        files, texts = _listed(path, told)
        rows = Samples(str(path), (files,))
        if classes is not None:
            return Dataset(rows, truths.named(path, [row[0] for row in texts], manifest.labels, classes), None)
        try:
            numbers = np.asarray(texts, np.float64)
        except ValueError as cause:
            raise errors.DataError(f"{path}: what is regressed must be numbers ({cause})") from cause
        return Dataset(rows, None, _numbers(manifest, str(path), numbers, len(rows)))
    cells = tables.read(path, (spec.elements + told,))
    inputs, true = cells[:, : spec.elements].reshape(-1, *spec.shape[1:]), cells[:, spec.elements :]
    rows = Samples(str(path), (inputs,))
    if classes is None:
        return Dataset(rows, None, _numbers(manifest, str(path), true, len(rows)))
    return Dataset(rows, truths.named(path, [f"{value:g}" for value in true[:, 0]], manifest.labels, classes), None)


def _listed(path: Path, told: int) -> tuple[tuple[Path, ...], list[list[str]]]:
    """Pictures by their names, relative to the table's folder, and the cells behind each; a first row whose picture is
    not there is a header."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = [row for row in csv.reader(stream) if any(cell.strip() for cell in row)]
    except (OSError, csv.Error, UnicodeDecodeError) as cause:
        raise errors.DataError(f"{path}: cannot be read as .csv ({errors.one_line(cause)})") from cause
    files = [path.parent / row[0].strip() for row in rows]
    if files and not files[0].is_file():
        files, rows = files[1:], rows[1:]
    for number, (file, row) in enumerate(zip(files, rows, strict=True), 1):
        if not file.is_file() or len(row) != 1 + told:
            raise errors.DataError(
                f"{path}: data row {number} ({','.join(row)[:60]!r}) is no picture with {told} cells behind it"
            )
    return tuple(files), [[cell.strip() for cell in row[1:]] for row in rows]


def _numbers(manifest: Manifest, name: str, found: Array, samples_: int) -> Array:
    expected = sum(output.elements for output in manifest.results)
    if found.size != samples_ * expected or found.dtype.kind not in "fiub" or not np.isfinite(found).all():
        raise errors.DataError(
            f"{name}: what is true has shape {found.shape}; expected {expected} finite numbers for each of {samples_} "
            "samples"
        )
    return np.asarray(found, np.float64).reshape(samples_, expected)
