"""A zip archive with one model in it, as Teachable Machine downloads: the model, and its labels where it has them.

A `.tflite` with TFLite metadata is a model and a zip in one file: the labels lie behind the model.
"""

import zipfile
import zlib
from pathlib import Path, PurePosixPath

from converters.loading import other_formats, safety
from tflsplit import errors

_MODELS = (".h5", ".keras", ".tflite")
_LABELS = ("labels.txt", "label.txt")
_MOST_LABEL_BYTES = 1 << 20


def unpacked(source: Path, folder: Path) -> tuple[Path, Path | None]:
    """The model's file and that of its labels, taken out into `folder`; `source` itself where it is no such archive.

    ModelError for an archive that is damaged or climbs out of its folder.
    """
    names = other_formats.members(source) if source.is_file() else []
    models = [name for name in names if name.endswith(_MODELS)]
    if "config.json" in names or len(models) != 1:  # a .keras file holds its weights as .h5
        return source, None
    labels = [name for name in names if PurePosixPath(name).name in _LABELS]
    try:
        with zipfile.ZipFile(source) as archive:
            safety.check_zip(archive, str(source))
            model = folder / f"model{PurePosixPath(models[0]).suffix}"
            model.write_bytes(archive.read(models[0]))
            if not labels or archive.getinfo(labels[0]).file_size > _MOST_LABEL_BYTES:
                return model, None
            named = folder / "labels.txt"
            named.write_bytes(archive.read(labels[0]))
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as cause:
        raise errors.ModelError(f"{source}: damaged zip archive ({cause}); download it again") from cause
    return model, named


def labels_behind(model: Path, folder: Path) -> Path | None:
    """The one text file behind a `.tflite`, taken out into `folder`; None where there is none, or several."""
    names = [name for name in other_formats.members(model) if name.endswith(".txt")]
    if len(names) != 1:
        return None
    try:
        with zipfile.ZipFile(model) as archive:
            if archive.getinfo(names[0]).file_size > _MOST_LABEL_BYTES:
                return None
            named = folder / "labels.txt"
            named.write_bytes(archive.read(names[0]))
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, zlib.error):
        return None  # the model is whole without it
    return named
