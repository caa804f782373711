"""Runs the models of a package once, in a process without rights: what crashes the interpreter crashes nobody else."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tflsplit import errors
from tflsplit.confinement import child
from tflsplit.graph import flatgraph
from tflsplit.graph.interpreter import Interpreter
from tflsplit.package.reading import Package

_COMPILED = "_edgetpu.tflite"  # runs on its device only
_TIMEOUT_S = 300.0  # a hundred halves of a large model take a minute


def check(opened: Package) -> None:
    """PackageError naming the model that is damaged, cannot be run, or ends the process that tries it."""
    names = [name for name in opened.manifest.files if name.endswith(".tflite") and not name.endswith(_COMPILED)]
    last: list[str] = []
    request = {"folder": str(opened.path.resolve()), "models": names}
    with tempfile.TemporaryDirectory(prefix="tflsplit-") as folder:
        try:
            child.run(
                attempt,
                request,
                folder=Path(folder),
                readable=[opened.path],
                on_word=last.append,
                timeout_s=_TIMEOUT_S,
            )
        except child.CrashedError as ended:
            name = last[-1] if last else "its models"
            raise errors.PackageError(f"{opened.path}: running {name} {ended}; do not use this package") from ended
        except (errors.ModelError, errors.DeviceError) as refused:
            raise errors.PackageError(f"{opened.path}: {refused}") from refused


def attempt(request: Mapping[str, Any], say: Callable[[str], None]) -> None:
    """In the other process: each model once, on zeros."""
    for name in request["models"]:
        say(name)
        data = (Path(request["folder"]) / name).read_bytes()
        flatgraph.read(data, name=name)
        with Interpreter(data, name=name) as interpreter:
            interpreter.run(*(np.zeros(spec.shape, spec.dtype) for spec in interpreter.inputs))
