"""Packages: opened, proven, and cut into files."""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

from tflsplit import arguments, errors
from tflsplit.arguments import PathLike
from tflsplit.graph.cuts import Cut
from tflsplit.graph.tensors import Array
from tflsplit.package import reading, trial, writing
from tflsplit.package import verify as proof
from tflsplit.package.reading import Package
from tflsplit.package.verify import Report
from tflsplit.package.writing import Halves

# Of a folder or a camera: a proof needs no more, and a camera never ends.
_MOST_SAMPLES = 1000


def open(pkg: PathLike | Package) -> Package:
    """Open a package and check every file in it against its digest; an opened one is returned as it is.

    PackageError for anything that is not a whole package.
    """
    return pkg if isinstance(pkg, Package) else reading.open_package(pkg)


def verify(
    pkg: PathLike | Package,
    *,
    cuts: str | Iterable[str | Cut] = "listed",
    samples: "int | PathLike | Array | Sequence[Array]" = 8,
    on_cut: Callable[[Cut], None] = lambda cut: None,
) -> Report:
    """Run head and tail of cuts beside the whole model and compare the results bit for bit.

    `cuts` is "all", "listed" (without those between the time steps of unrolled layers), "useful", or names of cuts or
    layers. `samples` says how many random inputs, or names a folder of
    pictures or a .npy, .npz or .csv file, or is an array for each input of the model. `report.holds` is the answer.
    PackageError for models that cannot be run; they are tried in a process without rights first.
    """
    opened = open(pkg)
    trial.check(opened)
    return proof.verify(opened, opened.select(cuts), inputs_of(opened, samples), on_cut=on_cut)


def slice(pkg: PathLike | Package, cut: str | Cut, out: PathLike, *, force: bool = False) -> Halves:
    """Write head.tflite and tail.tflite of any cut, named by its id or its layer, into the folder `out`.

    SettingsError if one of them is there already, unless `force` allows to replace it.
    """
    folder = arguments.path(out, "out")
    for name in ("head.tflite", "tail.tflite"):
        if not arguments.instance(force, bool, "force") and (folder / name).exists():
            raise errors.SettingsError(f"{folder / name} exists already; give another folder, or --force to replace it")
    opened = open(pkg)
    return writing.write_pair(folder, opened, opened.cut(cut))


def inputs_of(package: Package, samples: Any) -> Sequence[tuple[Array, ...]]:
    """Inputs of the model as it stores them: random ones, or those of a file, a folder or arrays."""
    if isinstance(samples, str) and samples.isdecimal():
        samples = int(samples)
    if isinstance(samples, int):
        if arguments.instance(samples, int, "samples") < 1:
            raise errors.SettingsError(f"samples: {samples} inputs prove nothing; give at least 1")
        return proof.random_samples(package.manifest.inputs, samples, table_sizes=package.table_sizes)
    from edge_runtime.sources import frames

    source = frames.open_source(samples, package.manifest)
    try:
        return [taken.arrays for taken in islice(source.inputs(), _MOST_SAMPLES)]
    finally:
        source.close()
