"""Writes packages: whole or not at all, so that nobody ever opens half of one. `reading` says what is in them."""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tflsplit import arguments, errors
from tflsplit.arguments import PathLike
from tflsplit.graph import cuts, flatgraph, float_tail
from tflsplit.graph.cuts import Cut
from tflsplit.package import manifest, reading
from tflsplit.package.manifest import File, Manifest
from tflsplit.package.reading import COMPILED, FLOAT_MODEL, GOLDEN, MANIFEST, MODEL, PRECISIONS, Package
from tflsplit.values.classes import replace


class Halves(NamedTuple):
    """The files of a head and its tail."""

    head: Path
    tail: Path


def write(
    path: Path,
    described: Manifest,
    model: bytes,
    pairs: Sequence[Cut],
    *,
    float_model: bytes | None = None,
    golden: bytes | None = None,
    precisions: bytes | None = None,
    replaces_existing: bool = False,
) -> Package:
    """Write a package with the pairs of these cuts; `described.files` is filled in here.

    `float_model` belongs to a manifest with `float_tails`, which the pairs then have. `golden.of_model` makes `golden`,
    `tflsplit.coding.precisions.render` `precisions`.

    It appears at `path` complete or not at all, whenever this process dies. Raises PackageError if something is in the
    way (a package only without `replaces_existing`), DeviceError if it cannot be written (a full disk).
    """
    named = ((MODEL, model), (FLOAT_MODEL, float_model), (GOLDEN, golden), (PRECISIONS, precisions))
    models = [(name, data) for name, data in named if data is not None]
    halves = _halves(pairs, model, float_model, described)
    return write_files(path, described, chain(models, halves), replaces_existing=replaces_existing)


def write_files(
    path: Path, described: Manifest, contents: Iterable[tuple[str, bytes]], *, replaces_existing: bool = False
) -> Package:
    """Like `write`, of files that are there already, each by its path in the package."""
    check_destination(path, replaces_existing=replaces_existing)
    with _written_whole(path) as partial:
        files = {name: _write_file(partial, name, data) for name, data in contents}
        described = replace(described, files=files)
        _write_file(partial, MANIFEST, manifest.stored(described))
    return Package(path, described)


def update(opened: Package, described: Manifest, renewed: Sequence[Cut], added: Mapping[str, bytes]) -> Package:
    """Replace the compiled heads and logs of some cuts, and the manifest; `described.files` is filled in here.

    `added` is by path in the package; files of a renewed cut that are not in it are dropped. Whenever this process
    dies, the package opens: new files come before the manifest that lists them, and old ones leave the manifest before
    they are overwritten. Raises DeviceError if it cannot be written.
    """
    compiled = {f"cuts/{cut.id}/{name}" for cut in renewed for name in COMPILED}
    stale = compiled & set(opened.manifest.files)
    kept = {name: file for name, file in opened.manifest.files.items() if name not in stale}
    with errors.disk_errors(opened.path, errors.NOTHING_LEFT):
        if stale:
            _replace_file(opened.path, MANIFEST, manifest.stored(replace(opened.manifest, files=kept)))
        for name in stale:
            (opened.path / name).unlink(missing_ok=True)
        files = {name: _replace_file(opened.path, name, data) for name, data in added.items()}
        absent = {name: file for name, file in described.absent.items() if name not in files}
        described = replace(described, files=kept | files, absent=absent)
        _replace_file(opened.path, MANIFEST, manifest.stored(described))
    return Package(opened.path, described)


def check_destination(path: Path, *, replaces_existing: bool, how: str = "--force") -> None:
    """PackageError unless a package may be written at `path`; checked before long work begins. `how` is what allows to
    replace one."""
    if path.exists() and not replaces_existing:
        raise errors.PackageError(f"{path} exists already; give another name, or {how} to replace it")
    if path.exists() and not (path / MANIFEST).is_file():
        raise errors.PackageError(f"{path} exists and is not a package; it will not be replaced, give another name")
    check_folder_of(path)


def check_folder_of(path: Path) -> None:
    """SettingsError or DeviceError unless the folder that `path` is to be in is there, and may be written to. It is
    never made: its name may be mistyped."""
    if not path.parent.is_dir():
        raise errors.SettingsError(f"{path}: there is no folder {path.parent}; make it first")
    if not os.access(path.parent, os.W_OK):
        is_fixed = os.statvfs(path.parent).f_flag & os.ST_RDONLY
        why = "Read-only file system" if is_fixed else f"no right to write to {path.parent}"
        raise errors.DeviceError(f"{path}: cannot be written ({why})")


def write_pair(directory: PathLike, package: Package, cut: str | Cut) -> Halves:
    """Write head.tflite and tail.tflite of any cut into a directory of the user's, which is made if need be.

    Neither is written if one cannot be (DeviceError).
    """
    directory = arguments.path(directory, "directory")
    check_folder_of(directory)
    cut = arguments.instance(package, Package, "package").cut(cut)
    sides = {"head": package.head_bytes(cut), "tail": package.tail_bytes(cut)}
    partials = {side: directory / f".{side}.tflite.{os.getpid()}" for side in sides}
    with errors.disk_errors(directory, errors.NOTHING_LEFT), _made(directory):
        try:
            for side, data in sides.items():
                partials[side].write_bytes(data)
            for side, partial in partials.items():
                partial.replace(directory / f"{side}.tflite")
        finally:
            for partial in partials.values():
                partial.unlink(missing_ok=True)
    return Halves(*(directory / f"{side}.tflite" for side in sides))


def _halves(
    pairs: Sequence[Cut], model: bytes, float_model: bytes | None, described: Manifest
) -> Iterator[tuple[str, bytes]]:
    graph, float_tails = flatgraph.read(model), described.float_tails
    known = reading.known_of(described, graph)
    float_graph = None if float_model is None else flatgraph.read(float_model)
    for cut in pairs:
        yield f"cuts/{cut.id}/head.tflite", cuts.head_bytes(graph, cut, known.head(cut))
        if float_graph is None or float_tails is None:
            tail = cuts.tail_bytes(graph, cut, known.tail(cut))
        else:
            counterparts = float_tails.counterparts[cut.id]
            tail = float_tail.tail_bytes(float_graph, cut.boundary, counterparts, known.tail(cut))
        yield f"cuts/{cut.id}/tail.tflite", tail


def _write_file(partial: Path, name: str, data: bytes) -> File:
    target = partial / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    return File(hashlib.sha256(data).hexdigest(), len(data))


def _replace_file(path: Path, name: str, data: bytes) -> File:
    place = PurePosixPath(name)
    partial = str(place.with_name(f".{place.name}.partial"))
    written = _write_file(path, partial, data)
    (path / partial).replace(path / name)
    return written


@contextmanager
def _written_whole(path: Path) -> Iterator[Path]:
    """A directory beside `path` that takes its place when the block ends well and vanishes when it does not."""
    with folder_beside(path) as partial:
        yield partial
        _take_place(partial, path)


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """A hidden folder on the disk of `path`, which vanishes with all in it; DeviceError if it cannot be made."""
    partial = path.parent / f".{path.name}.{os.getpid()}.partial"
    with errors.disk_errors(path, errors.NOTHING_LEFT), _made(path.parent):
        _remove_abandoned(path)
        partial.mkdir()
        try:
            yield partial
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def move(made: Package, path: Path, *, replaces_existing: bool = False) -> Package:
    """A package that lies complete in a `folder_beside(path)` takes its place."""
    check_destination(path, replaces_existing=replaces_existing)
    with errors.disk_errors(path, errors.NOTHING_LEFT):
        _take_place(made.path, path)
    return Package(path, made.manifest)


def _take_place(complete: Path, path: Path) -> None:
    replaced = path.parent / f".{path.name}.{os.getpid()}.replaced"
    if path.exists():
        path.rename(replaced)
    complete.rename(path)
    shutil.rmtree(replaced, ignore_errors=True)


@contextmanager
def _made(directory: Path) -> Iterator[None]:
    """Makes a directory and its parents; those that are still empty at the end are removed again."""
    made = [place for place in (directory, *directory.parents) if not place.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for place in made:
            with contextlib.suppress(OSError):
                place.rmdir()


def _remove_abandoned(path: Path) -> None:
    """What a killed writer left behind, known by the process id in its name."""
    for left in path.parent.glob(f".{path.name}.*.partial"):
        pid = left.name.rsplit(".", 2)[1]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            with contextlib.suppress(OSError):
                shutil.rmtree(left)
