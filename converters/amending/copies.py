"""The file to open instead of a Keras file that no loader here would open as it is, and what was changed in it."""

import json
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from converters.amending import layouts, names, precision, scaling, training_parts
from tflsplit.values.classes import dataclass

_CONFIG = "config.json"
WEIGHTS = "model.weights.h5"


@dataclass(frozen=True, slots=True)
class Amended:
    """`config` is what `file` says; both are the original's where nothing was changed."""

    file: Path
    config: Any
    notes: tuple[str, ...] = ()


def amended(
    path: Path, config: Any, *, is_zip: bool, folder: Path, scales: Mapping[str, tuple[float, float]]
) -> Amended:
    """The file with its configuration (parsed JSON, still unchecked) amended, written to `folder`.

    `scales` are layers to replace by one that only scales. ModelError for a layer among them that is not there.
    """
    config, scaled = scaling.replaced(config, scales, str(path))
    config, widened = precision.in_float32(config, str(path))
    config, dropped = training_parts.left_out(config)
    config, renamed = names.of_keras(config)
    older = is_zip and layouts.is_of_keras_213(path)
    notes = (*scaled, *widened)
    if not (notes or dropped or renamed or older):
        return Amended(path, config)
    copy = folder / f"amended{'.keras' if is_zip else '.h5'}"
    if is_zip:
        _write_zip(path, copy, json.dumps(config), folder, is_older=older)
    else:
        _write_hdf5(path, copy, json.dumps(config))
    return Amended(copy, config, notes)


def _write_zip(path: Path, copy: Path, config: str, folder: Path, *, is_older: bool) -> None:
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(copy, "w") as made:
        for member in source.infolist():
            if member.filename == _CONFIG:
                made.writestr(member.filename, config)
            elif member.filename == WEIGHTS and is_older:
                made.write(layouts.as_newer(source, folder), member.filename)
            else:
                with source.open(member) as held, made.open(member.filename, "w") as kept:
                    shutil.copyfileobj(held, kept)


def _write_hdf5(path: Path, copy: Path, config: str) -> None:
    import h5py

    shutil.copyfile(path, copy)
    with h5py.File(copy, "r+") as file:
        file.attrs["model_config"] = config
