"""From a model file to a package, by the hands of a process that can do nothing else.

The file is a stranger's: whatever loads or runs it stands in a child process that writes to one folder beside the
destination. What it leaves there is checked like any package of unknown origin before it takes its place.
"""

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from converters import archive, pipeline, refusals, static_shapes, unquantised
from converters.edgetpu import compiler, target
from converters.loading import formats
from converters.loading.formats import Format
from converters.options import Options
from tflsplit import arguments, errors, text
from tflsplit.arguments import PathLike
from tflsplit.confinement import child
from tflsplit.graph import flatgraph
from tflsplit.kernels import keeping
from tflsplit.package import reading, trial, writing
from tflsplit.package.reading import Package
from tflsplit.values.classes import replace

_NUMBERED = re.compile(r"(\d{1,6})[\s:,]\s*(\S.*)", re.ASCII)

__all__ = ["Options", "convert", "options_for_errors", "read_labels"]


def convert(
    source: PathLike, destination: PathLike, options: Options, *, on_stage: Callable[[str], None] = lambda words: None
) -> Package:
    """Convert a model file and write its package; `on_stage` gets a text at the beginning of each stage.

    Raises ModelError, DataError, CutError or PackageError before anything is written, DeviceError if it cannot be.
    """
    source, destination = arguments.path(source, "model"), arguments.path(destination, "out")
    arguments.instance(options, Options, "options")
    if not text.is_utf8(destination.name):  # it becomes the model's
        raise errors.SettingsError(
            f"{destination}: a package cannot have a name that is no UTF-8; give another with -o"
        )
    writing.check_destination(destination, replaces_existing=options.replaces_existing)
    tool = compiler.find(options.compiler) if options.target == "coral" and not options.quick else None
    with writing.folder_beside(destination) as folder:
        model, labels = archive.unpacked(source, folder)
        if labels is not None and not options.labels:
            options = replace(options, labels=read_labels(labels), labels_name=f"{source}, labels")
        try:
            refusals.before_loading(model, options)
            if not options.labels:
                options = replace(options, labels=_own_labels(model, folder, options))
            made = _converted(model, destination, folder, options, on_stage)
        except errors.TflsplitError as refused:
            raise type(refused)(str(refused).replace(str(model), str(source))) from refused
        made = writing.move(made, destination, replaces_existing=options.replaces_existing)
    if options.target != "coral" or options.quick:
        return made
    on_stage("compile heads for the Edge TPU")
    return target.compiled(made, tool, compiler.TIMEOUT_S)


def options_for_errors(source: Path, samples: Path | None, target_name: str) -> Options:
    """To see where int8 loses: calibrated on the samples to measure on, and with the float model where there is one."""
    is_int8 = formats.recognise(source) is Format.TFLITE and not unquantised.is_float(static_shapes.read(source))
    return Options(target=target_name, calibration=samples, pairs="none", tail="int8" if is_int8 else "float32")


def _own_labels(model: Path, folder: Path, options: Options) -> tuple[str, ...]:
    """Those that a `.tflite` carries with its metadata, if they fit its output; none of any other file."""
    if formats.recognise(model) is not Format.TFLITE:
        return ()
    named = archive.labels_behind(model, folder)
    try:
        if named is None:
            return ()
        labels = read_labels(named)
        refusals.check_labels_of(replace(options, labels=labels), static_shapes.read(model), str(model))
    except (errors.DataError, errors.ModelError):
        return ()
    return labels


def _converted(
    source: Path, destination: Path, folder: Path, options: Options, on_stage: Callable[[str], None]
) -> Package:
    """What the child process made, opened in `folder`."""
    place = folder / "package"
    name = destination.name.removesuffix(reading.SUFFIX)
    request: dict[str, Any] = {
        "source": str(source),
        "destination": str(place),
        "name": name,
        "sha256": _digest(source),
        "kernel_class": keeping.here().as_json(),  # the process without rights may not start another
    }
    given = [source, *(_with_links(options.calibration) if isinstance(options.calibration, Path) else ())]
    try:
        child.run(
            pipeline.run,
            request | {"options": options.as_json(folder)},
            folder=folder,
            readable=given,
            on_word=on_stage,
        )
        made = reading.open_package(place)
        described = made.manifest
        if (described.name, described.source.sha256) != (name, request["sha256"]):
            raise errors.PackageError(f"{place}: converting {source} made the package of another model")
        for file in described.files:
            if file.endswith(".tflite"):
                flatgraph.read((place / file).read_bytes(), name=str(place / file))
        if not options.quick:  # what is looked at only is never run
            on_stage("try the models")
            trial.once(made)
    except child.CrashedError as ended:
        where = trial.culprit(source) if source.is_file() and formats.recognise(source) is Format.TFLITE else ""
        raise errors.ModelError(f"{source}: converting it {ended}{where}; nothing was written") from ended
    except errors.TflsplitError as refused:
        raise type(refused)(str(refused).replace(str(place), str(destination))) from refused
    return made


def _with_links(calibration: Path) -> Iterator[Path]:
    """The user's own data, and what links in a folder of them lead to."""
    yield calibration
    with contextlib.suppress(OSError):
        yield from (path for path in calibration.rglob("*") if path.is_symlink())


def _digest(source: Path) -> str:
    """SHA-256 of a file, or of every file of a SavedModel directory in name order."""
    files = sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]
    digest = hashlib.sha256()
    for path in files:
        try:
            with path.open("rb") as stream:
                while piece := stream.read(1 << 20):
                    digest.update(piece)
        except OSError as cause:
            raise errors.ModelError(f"{path}: cannot be read ({cause.strerror}); give a model file") from cause
    return digest.hexdigest()


def read_labels(path: PathLike) -> tuple[str, ...]:
    """One label a line, class 0 first; a number before each, as Teachable Machine and Coral write, says the class."""
    path = arguments.path(path, "labels")
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError as cause:
        raise errors.DataError(f"{path}: no labels: it is no UTF-8 text; save it as UTF-8, one a line") from cause
    except OSError as cause:
        raise errors.DataError(f"{path}: cannot be read as labels, one a line ({errors.one_line(cause)})") from cause
    labels = [line.strip() for line in lines]
    if not any(labels):
        raise errors.DataError(f"{path}: holds no labels; expected one a line")
    numbered = [_NUMBERED.fullmatch(label) for label in labels]
    places = [int(found[1]) for found in numbered if found]
    if len(places) == len(labels) and places[0] == 0 and places == sorted(set(places)):
        named = {place: found[2] for place, found in zip(places, numbered, strict=True) if found}
        return tuple(named.get(place, str(place)) for place in range(places[-1] + 1))  # Coral's leave some out
    return tuple(labels)
