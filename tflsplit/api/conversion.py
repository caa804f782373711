"""From a model file to a package."""

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tflsplit import arguments, errors
from tflsplit.arguments import PathLike
from tflsplit.decoding import forms
from tflsplit.decoding.forms import Wish
from tflsplit.graph.tensors import Array
from tflsplit.inputs import preprocessing as inputs_preprocessing
from tflsplit.inputs import resizing
from tflsplit.inputs.preprocessing import Preprocessing
from tflsplit.package import reading
from tflsplit.package.reading import Package


def convert(
    model: PathLike,
    out: PathLike | None = None,
    *,
    target: str = "cpu",
    calibration: "PathLike | Array | Sequence[Array] | None" = None,
    require_calibration: bool = False,
    preprocessing: str | Preprocessing | None = None,
    resize: str = "stretch",
    labels: PathLike | Iterable[str] | None = None,
    task: str | None = None,
    min_score: float | None = None,
    split_at: str | Iterable[str] = (),
    pairs: str | None = None,
    tail: str = "int8",
    io: str | None = None,
    requantise: bool = False,
    stateful: bool = False,
    input_shape: Mapping[str, Sequence[int]] | Iterable[str | Sequence[int]] = (),
    replace: Mapping[str, Sequence[float]] | Iterable[str] = (),
    signature: str | None = None,
    compiler: str | None = None,
    allow_unsafe: bool = False,
    force: bool = False,
    quick: bool = False,
    on_stage: Callable[[str], None] = lambda words: None,
) -> Package:
    """Quantise a model to int8 once, cut it into heads and tails, and write the package `out`.

    `out` is by default the model's name with the ending .tflsplit, in the current folder. `calibration` is a folder of
    pictures, a .npy, .npz or .csv file, or an array for each input of the model. `labels` is a file with one label a
    line, or the labels. All other words are those of `tflsplit convert --help`; `quick` calibrates on plain noise.
    """
    from converters import convert as conversion

    source = arguments.path(model, "model")
    options = conversion.Options(
        target=target,
        calibration=_calibration(calibration),
        requires_calibration=require_calibration,
        preprocessing=inputs_preprocessing.parse(preprocessing) if isinstance(preprocessing, str) else preprocessing,
        resize=resizing.parse(resize),
        labels=_labels(labels),
        labels_name=os.fspath(labels) if isinstance(labels, str | os.PathLike) else "labels",
        task=_task(task, min_score),
        split_at=arguments.texts(split_at, "split_at"),
        pairs=pairs,
        tail=tail,
        io=io,
        requantise=requantise,
        stateful=stateful,
        input_shapes=_shapes(input_shape),
        scales=_scales(replace),
        signature=signature,
        allow_unsafe=allow_unsafe,
        replaces_existing=force,
        quick=quick,
        compiler=compiler,
    )
    return conversion.convert(source, _usual(source) if out is None else out, options, on_stage=on_stage)


def _usual(source: Path) -> Path:
    return Path(source.resolve().with_suffix(reading.SUFFIX).name)


def _calibration(given: Any) -> Path | tuple[Array, ...] | None:
    if isinstance(given, np.ndarray):
        return (given,)
    if isinstance(given, list | tuple) and given and all(isinstance(array, np.ndarray) for array in given):
        return tuple(given)
    if given is None or isinstance(given, str | os.PathLike):
        return None if given is None else arguments.path(given, "calibration")
    raise arguments.wrong("calibration", given, "a path, or an array for each input of the model")


def _task(given: str | None, min_score: float | None) -> Wish | None:
    if given is not None:
        return forms.parse(given, min_score)
    if min_score is not None:
        raise errors.SettingsError("min_score says from which score on an object counts: give task detect as well")
    return None


def _labels(given: Any) -> tuple[str, ...]:
    from converters import convert as conversion

    if given is None:
        return ()
    if isinstance(given, str | os.PathLike):
        return conversion.read_labels(arguments.path(given, "labels"))
    return arguments.texts(given, "labels")


def _scales(given: Any) -> dict[str, tuple[float, float]]:
    """By layer: a factor and what is added; each in a mapping, or a text LAYER=SCALE,OFFSET."""
    if isinstance(given, Mapping):
        return {arguments.text(name, "replace"): _scale(name, scale) for name, scale in given.items()}
    entries = [entry.rpartition("=") for entry in arguments.texts(given, "replace")]
    return {name: _scale(name, numbers.split(",")) for name, _, numbers in entries}


def _scale(name: str, given: Any) -> tuple[float, float]:
    try:
        scale, offset = (float(number) for number in given)
    except (TypeError, ValueError):
        raise arguments.wrong("replace", given, "LAYER=SCALE,OFFSET, as scaling=0.00784,-1") from None
    if not name or not math.isfinite(scale) or not math.isfinite(offset):
        raise errors.SettingsError(f"replace {name}={given}: expected LAYER=SCALE,OFFSET, finite numbers")
    return scale, offset


def _shapes(given: Any) -> Any:
    """Shapes for the inputs by name or in their order; each is whole numbers, or a text of them with commas."""
    if isinstance(given, Mapping):
        return {arguments.text(name, "input_shape"): _shape(shape) for name, shape in given.items()}
    if isinstance(given, str):
        return (_shape(given),)
    if not isinstance(given, Iterable):
        raise arguments.wrong("input_shape", given, "a shape for each input, as [(224, 224, 3)]")
    shapes = tuple(given)
    is_one = bool(shapes) and all(isinstance(extent, int) for extent in shapes)
    return (_shape(shapes),) if is_one else tuple(map(_shape, shapes))


def _shape(given: Any) -> tuple[int, ...]:
    try:
        return tuple(int(extent) for extent in (given.split(",") if isinstance(given, str) else given))
    except (TypeError, ValueError):
        raise arguments.wrong("input shape", given, "whole numbers, as 224,224,3") from None
