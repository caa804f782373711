"""What the demo ships: a trained model that reads handwritten digits, and pictures for it."""

import io
import shutil
from importlib import resources
from pathlib import Path

import numpy as np

from tflsplit import errors
from tflsplit.graph.tensors import Array

LABELS = tuple(str(digit) for digit in range(10))
_PICTURES = 20


def write_model(folder: Path) -> Path:
    model = folder / "digits.h5"
    model.write_bytes(_shipped("digits.h5"))
    return model


def data() -> dict[str, Array]:
    """`calibration`, and `test_images` with the digits they show in `test_labels`."""
    with np.load(io.BytesIO(_shipped("digits.npz")), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def unpack(folder: Path) -> None:
    """Model, calibration data, labels and pictures as files, for who wants to go through the demo's steps by hand."""
    with errors.disk_errors(folder, errors.NOTHING_LEFT):
        try:
            folder.mkdir(parents=True)
        except FileExistsError as there:
            raise errors.SettingsError(
                f"{folder} exists already; give the name of a folder that is to be made"
            ) from there
        try:
            _write(folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _write(folder: Path) -> None:
    from PIL import Image

    arrays = data()
    write_model(folder)
    np.save(folder / "calibration.npy", arrays["calibration"])
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS), "ascii")
    (folder / "pictures").mkdir()
    shown = zip(arrays["test_images"][:_PICTURES], arrays["test_labels"], strict=False)
    for number, (picture, label) in enumerate(shown):
        Image.fromarray(picture[:, :, 0]).save(folder / "pictures" / f"{number:02}-is-{label}.png")


def _shipped(name: str) -> bytes:
    return (resources.files("tflsplit") / "demo" / name).read_bytes()
