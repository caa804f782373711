"""The true classes of samples, where their file or folder tells them: a folder for each class, or labels beside arrays.

A class is named by its label, or by its number where it has none, as an answer's is.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tflsplit import errors
from tflsplit.graph.tensors import Array

BESIDE = ("labels", "label", "y")  # what an array of labels is called in an .npz


def of_arrays(path: Path, found: Mapping[str, Array], labels: Sequence[str], classes: int) -> tuple[str, ...] | None:
    """From the array that is called so. DataError for one that is no class for each sample."""
    name = next((each for each in BESIDE if each in found), None)
    if name is None:
        return None
    told = np.asarray(found[name])
    if told.size != len(told) or told.dtype.kind not in "iuU":
        raise errors.DataError(
            f"{path}: {name!r} has shape {told.shape} and type {told.dtype}; expected a class for each sample, as its "
            "number or its label"
        )
    return tuple(_named(f"{path}: {name!r}", str(each), labels, classes) for each in told.reshape(-1).tolist())


def of_folders(
    folder: Path, files: Sequence[Path], labels: Sequence[str], classes: int
) -> tuple[tuple[str, ...] | None, str]:
    """From the folder right below `folder` that each file is in, and what is to be said where these tell nothing: none
    of them is called as a class. DataError where some are and others are not."""
    names = [file.relative_to(folder).parts[0] if file.parent != folder else None for file in files]
    groups = sorted({name for name in names if name is not None})
    known = [name for name in groups if _class_of(name, labels, classes) is not None]
    if not known:
        shown = ", ".join(groups[:3])
        return None, f"{folder}: its folders ({shown}) are no classes, so truths are not known" if groups else ""
    for name in names:
        if name is None:
            raise errors.DataError(f"{folder}: has folders for classes, and pictures beside them; move these into one")
    return tuple(_named(str(folder), name or "", labels, classes) for name in names), ""


def named(path: Path, told: Sequence[str], labels: Sequence[str], classes: int) -> tuple[str, ...]:
    """Of classes by their numbers or labels. DataError for what is none."""
    return tuple(_named(str(path), each, labels, classes) for each in told)


def _named(where: str, name: str, labels: Sequence[str], classes: int) -> str:
    found = _class_of(name, labels, classes)
    if found is None:
        raise errors.DataError(
            f"{where}: {name!r} is no class of the model; expected its number from 0 to {classes - 1}"
            + (f", or its label, as {labels[0]!r}" if labels else "")
        )
    return found


def _class_of(name: str, labels: Sequence[str], classes: int) -> str | None:
    """A label goes before a number."""
    if name in labels:
        return name
    if not (name.isascii() and name.isdecimal()) or int(name) >= classes:
        return None
    return labels[int(name)] if int(name) < len(labels) else str(int(name))
