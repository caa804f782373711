"""Runs the models of a package once, in a process without rights: what crashes the interpreter crashes nobody else.

What passed is remembered by its content, so that the next start with it pays nothing. Whatever runs models of a package
in its own process asks here first.
"""

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tflsplit import errors, private_files, processor
from tflsplit.graph import flatgraph
from tflsplit.graph.interpreter import Interpreter
from tflsplit.kernels import keeping, probe
from tflsplit.package import verify
from tflsplit.package.reading import Package

log = logging.getLogger(__name__)

_COMPILED = "_edgetpu.tflite"  # runs on its device only
_TIMEOUT_S = 60.0  # for one model; the largest public ones take seconds on a Raspberry Pi
_MOST_BYTES = 4 << 30  # a small file can ask for any amount; the largest public models take less than one gigabyte
_MOST_OPERATORS = 100_000  # of a model that can be read at all
_FORMAT = 1

OnModel = Callable[[str], None]


def once(opened: Package, *, on_model: OnModel = lambda name: None) -> None:
    """As `check`, unless models of this content passed it before, for this user on this machine and runtime."""
    if not _place_of(opened).exists():
        check(opened, on_model=on_model)


def check(opened: Package, *, on_model: OnModel = lambda name: None) -> None:
    """PackageError naming the model that is damaged, cannot be run, hangs, or ends the process that tries it.

    `on_model` hears the name of each model before it is tried.
    """
    names = list(_models(opened))
    _try(opened, names, on_model)
    is_remembered = _remember(_place_of(opened))
    log.debug("package tried package=%s models=%d remembered=%s", opened.path, len(names), is_remembered)


def attempt(request: Mapping[str, Any], say: Callable[[str], None]) -> None:
    """In the other process: each model once, on zeros; on others, where an operator refuses those (a division)."""
    for name in request["models"]:
        say(name)
        data = (Path(request["folder"]) / name).read_bytes()
        with contextlib.suppress(errors.DeviceError):  # tflite-runtime runs models and brings nothing to read them by
            flatgraph.read(data, name=name)
        with Interpreter(data, name=name) as interpreter:
            try:
                interpreter.run(*(np.zeros(spec.shape, spec.dtype) for spec in interpreter.inputs))
            except errors.DeviceError:
                (sample,) = verify.random_samples(interpreter.inputs, 1)
                interpreter.run(*sample)


def culprit(model: Path) -> str:
    """` at operator 3 (SVDF)` for the first one that ends a process in which it runs alone; nothing where none does."""
    from tflsplit.confinement import child

    said: list[str] = []

    def hear(name: str) -> None:
        said.append(name)
        if len(said) > _MOST_OPERATORS:
            raise errors.ModelError(f"{model}: running its operators does not end")

    try:
        child.run(
            attempt_each,
            {"model": str(model.resolve())},
            folder=None,
            readable=[model],
            on_word=hear,
            timeout_s=_TIMEOUT_S,
            most_bytes=_MOST_BYTES,
        )
    except child.CrashedError:
        return f" at {said[-1]}" if said else ""
    except (errors.TflsplitError, child.BugError):  # then nothing is known, and the caller has its own reason
        return ""
    return ""


def attempt_each(request: Mapping[str, Any], say: Callable[[str], None]) -> None:
    """In the other process: each operator of a model alone, on zeros."""
    graph = flatgraph.read(Path(request["model"]).read_bytes())
    for operator in graph.operators:
        computed = (index for index in operator.inputs if index >= 0 and not graph.tensors[index].is_constant)
        inputs = [index for index in dict.fromkeys(computed) if not graph.tensors[index].is_variable]
        say(f"operator {operator.index} ({operator.name})")
        with contextlib.suppress(errors.DeviceError):  # refused by the interpreter, which lives on
            single = flatgraph.extract(graph, operator.index, operator.index + 1, inputs, operator.outputs)
            with Interpreter(single) as interpreter:
                interpreter.run(*(np.zeros(spec.shape, spec.dtype) for spec in interpreter.inputs))


def _models(opened: Package) -> Mapping[str, str]:
    """The models to try, and the SHA-256 of each."""
    return {
        name: file.sha256
        for name, file in opened.manifest.files.items()
        if name.endswith(".tflite") and not name.endswith(_COMPILED)
    }


def _try(opened: Package, names: list[str], on_model: OnModel) -> None:
    from tflsplit.confinement import child  # not loaded where nothing is to be tried

    said: list[str] = []

    def hear(name: str) -> None:
        said.append(name)
        if len(said) > len(names):  # else it could go on for ever
            raise errors.PackageError(f"{opened.path}: running its models does not end; do not use this package")
        on_model(name)

    request = {"folder": str(opened.path.resolve()), "models": names}
    try:
        child.run(
            attempt,
            request,
            folder=None,
            readable=[opened.path],
            on_word=hear,
            timeout_s=_TIMEOUT_S,
            most_bytes=_MOST_BYTES,
        )
    except child.CrashedError as ended:
        name = said[-1] if said else "its models"
        where = culprit(opened.path / name) if name in names else ""
        raise errors.PackageError(f"{opened.path}: running {name} {ended}{where}; do not use this package") from ended
    except (errors.ModelError, errors.DeviceError, errors.DataError) as refused:
        raise errors.PackageError(f"{opened.path}: {refused}") from refused


def _place_of(opened: Package) -> Path:
    """An empty file there says that the models passed. It is named by their content, whatever they are called; another
    runtime may crash where this one did not."""
    tried = [_FORMAT, probe.runtime_version(), processor.machine(), sorted({*_models(opened).values()})]
    return keeping.folder() / "tried" / hashlib.sha256(json.dumps(tried).encode()).hexdigest()


def _remember(passed: Path) -> bool:
    """Whether it could be; where nothing can be kept, each start tries anew."""
    with contextlib.suppress(OSError):
        passed.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        private_files.make_folder(passed.parent)
        private_files.make_file(passed)
        return True
    return False
