"""Both Kerases, imported and used without their warnings, which the test run would take for errors."""

import pathlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from converters import convert
from converters.loading import formats, quiet, retyping
from converters.loading.model import LoadedModel


@pytest.fixture(scope="session")
def keras() -> ModuleType:
    quiet.tensorflow()
    with quiet.silenced():
        import keras

    return keras


@pytest.fixture(scope="session")
def tf_keras() -> ModuleType:
    quiet.tensorflow()
    with quiet.silenced():
        import tf_keras

    return tf_keras


@pytest.fixture(params=["keras", "tf_keras"])
def either_keras(request: pytest.FixtureRequest) -> ModuleType:
    library: ModuleType = request.getfixturevalue(request.param)
    return library


@pytest.fixture
def load_built(keras: ModuleType) -> Callable[..., LoadedModel]:
    """A model built by `build(keras)`, as loading would give it."""

    def load_built(build: Callable[[Any], Any], library: ModuleType = keras, **options: Any) -> LoadedModel:
        with quiet.silenced():
            library.utils.set_random_seed(7)
            model = build(library)
        return formats.keras_model(pathlib.Path("built"), "keras", model, library, **options)

    return load_built


@pytest.fixture
def load_retyped(load_built: Callable[..., LoadedModel]) -> Callable[..., LoadedModel]:
    """The same with its inputs in the types that it computes on."""
    return lambda build: retyping.with_numbers_it_computes_on(load_built(build))


@pytest.fixture
def saved(tmp_path: pathlib.Path) -> Callable[..., pathlib.Path]:
    """Saves a model under a name; the ending says in which format."""

    def saved(model: Any, name: str) -> pathlib.Path:
        path = tmp_path / name
        with quiet.silenced():
            model.save(path)
        return path

    return saved


@pytest.fixture
def samples() -> Callable[..., tuple[np.ndarray, ...]]:
    """Random real values for each input of a model."""

    def samples(model: LoadedModel, count: int = 16) -> tuple[np.ndarray, ...]:
        rng = np.random.default_rng(0)
        return tuple(rng.random((count, *entry.shape[1:]), np.float32).astype(entry.dtype) for entry in model.inputs)

    return samples


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Converts where TensorFlow is loaded already, which saves seconds each time; not for tests of the sandbox."""

    def run(task: Callable[..., Any], request: Any, *, on_word: Callable[[str], None], **_: Any) -> Any:
        return task(request, on_word)

    monkeypatch.setattr(convert.child, "run", run)
