"""Weights of a `.keras` file of Keras 2.12 and 2.13, under the names that Keras 2.14 and later look for.

Those kept the layers of a model in a group `_layer_checkpoint_dependencies`, where each layer with weights counted
twice (`conv2d`, `conv2d_2`, `conv2d_4`); since then the group is `layers`, and each counts once.
"""

import io
import re
import zipfile
from pathlib import Path
from typing import Any

WEIGHTS = "model.weights.h5"
_OLDER, _NEWER = "_layer_checkpoint_dependencies", "layers"
_NUMBERED = re.compile(r"(.+?)(?:_(\d+))?", re.ASCII)


def is_of_keras_213(path: Path) -> bool:
    """Whether the archive has weights in the older layout; it was checked to be whole."""
    import h5py

    with zipfile.ZipFile(path) as archive:
        if WEIGHTS not in archive.namelist():
            return False
        with h5py.File(io.BytesIO(archive.read(WEIGHTS)), "r") as file:
            return _OLDER in file


def as_newer(archive: zipfile.ZipFile, folder: Path) -> Path:
    """The archive's weights in the newer layout, as a file in `folder`."""
    import h5py

    made = folder / WEIGHTS
    made.write_bytes(archive.read(WEIGHTS))
    with h5py.File(made, "r+") as file:
        _rename(file)
    return made


def _rename(group: Any) -> None:
    import h5py

    if _OLDER in group and _NEWER not in group:
        group.move(_OLDER, _NEWER)
        _count_once(group[_NEWER])
    for key in group:
        if isinstance(group[key], h5py.Group):
            _rename(group[key])


def _count_once(layers: Any) -> None:
    of_class: dict[str, list[tuple[int, str]]] = {}
    for name in layers:
        found = _NUMBERED.fullmatch(name)
        if found:
            of_class.setdefault(found[1], []).append((int(found[2] or 0), name))
    for kind, members in of_class.items():
        for place, (_, name) in enumerate(sorted(members)):
            wanted = f"{kind}_{place}" if place else kind
            if wanted != name:  # numbers only fall, so the name is free
                layers.move(name, wanted)
