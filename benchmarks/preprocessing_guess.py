"""How often `convert` finds out how a model takes pixels: a guess against the truth, over models trained here.

Each is trained for some epochs, on crops of two photographs or on handwritten digits; with and without batch
normalisation, with scaling before and inside the model, as a Keras model, a SavedModel and a float `.tflite`.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import harness
import numpy as np

from converters import rewriting, static_shapes, unquantised
from converters.calibration import inference
from converters.loading import formats, quiet
from converters.loading.model import LoadedModel
from tflsplit import errors
from tflsplit.inputs.preprocessing import NAMED

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import conftest
import trained_models

EPOCHS = 8
# Published ones of which it is known.
PUBLISHED = {"teachable_machine_keras24.h5": "symmetric", "models/mlc_resnet_float.tflite": "raw"}
COLUMNS = ("trained on", "scaled inside by", "truth", "batch norm.", "Keras", "SavedModel", ".tflite")


def run(folder: Path, *, is_quick: bool) -> list[harness.Outcome | harness.Table]:
    rows = [*_trained(folder), *_published()]
    guesses = [(row[2], guess) for row in rows for guess in row[4:] if guess not in ("", "refused")]
    right = sum(truth == guess for truth, guess in guesses)
    unknown = sum(guess == "unknown" for _, guess in guesses)
    note = f"{len(guesses)} files: {right} right, {unknown} called unknown, {len(guesses) - right - unknown} wrong."
    return [harness.Table("How a model takes pixels: the truth, and what was found", COLUMNS, tuple(rows), note)]


def _trained(folder: Path) -> Iterator[tuple[str, ...]]:
    tf = quiet.tensorflow()
    with quiet.silenced():
        import keras
    for content, pixels, labels in _contents():
        for inside, way, normalises in _kinds(pixels.shape[-1]):
            with quiet.silenced():
                keras.utils.set_random_seed(7)
                model = trained_models.build(keras, way, inside=inside, normalises=normalises, pixels=pixels)
                loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
                model.compile(keras.optimizers.Adam(2e-3), loss)
                model.fit(NAMED[way].to_real(pixels), labels, epochs=EPOCHS, verbose=0)
                model.export(folder / "saved", verbose=False)
                (folder / "m.tflite").write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
            opened = (
                lambda model=model: formats.keras_model(Path("built"), "keras", model, keras),
                lambda: formats.load(folder / "saved"),
                lambda: _float_file(folder / "m.tflite"),
            )
            yield (content, inside, way, "with" if normalises else "without", *map(_guess, opened))


def _contents() -> Iterator[tuple[str, Any, Any]]:
    from sklearn import datasets

    crops = trained_models.crops()
    yield "photographs", crops, np.arange(len(crops)) % 2  # of the palace or of the flower
    digits = trained_models.digits()
    yield "digits", digits, datasets.load_digits().target[: len(digits)] % 4


def _kinds(channels: int) -> Iterator[tuple[str, str, bool]]:
    ways = [("nothing", name) for name, way in NAMED.items() if len(way.scale) in (1, channels)]
    scaled = [(inside, way) for inside, way in trained_models.INSIDE.items() if way]
    for inside, way in (*ways, *scaled):
        if channels == 3 or "VGG16" not in inside:
            yield from ((inside, way, normalises) for normalises in (True, False))


def _published() -> Iterator[tuple[str, ...]]:
    for name, way in PUBLISHED.items():
        path = conftest.SHARED_DATA / name
        if path.exists():
            is_file = path.suffix == ".tflite"
            guess = _guess(lambda path=path: _float_file(path) if path.suffix == ".tflite" else formats.load(path))
            yield (
                path.name,
                "nothing",
                way,
                "folded" if is_file else "with",
                *(("", "", guess) if is_file else (guess, "", "")),
            )


def _float_file(path: Path) -> LoadedModel:
    return unquantised.load(path, rewriting.rewrite(path.read_bytes(), static_shapes.PASSES).data)


def _guess(open_model: Callable[[], LoadedModel]) -> str:
    try:
        inferred = inference.infer(open_model())
    except errors.ModelError:
        return "refused"
    return inferred.preprocessing.name if inferred.preprocessing else "unknown"
