"""What int8 costs without calibration data.

The demo's model, whose 360 held-out pictures have labels: accuracy of the float model, and of int8 calibrated on
real pictures, on inputs distilled from the batch-normalisation statistics, and on plain noise. Then two published
models with trained weights, where the tests' optional folder of models has them: crops of three photographs (one
calibrates, two test) have no labels, so int8 is compared with float.
"""

import sys
from dataclasses import replace
from pathlib import Path

import harness
import numpy as np
from PIL import Image

from converters import convert
from converters.float_model import fidelity
from converters.loading import formats
from converters.loading.model import LoadedModel
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import Array, dequantise, quantise
from tflsplit.inputs import preprocessing
from tflsplit.inputs.preprocessing import Preprocessing

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import conftest

DEMO = Path(convert.__file__).parents[1] / "tflsplit" / "demo"
CROPS = 48
# The second says nowhere how it was trained to see pixels, and nothing in it does; pixels / 255 is the commonest.
PUBLISHED = {"teachable_machine_keras24.h5": "symmetric", "driving_keras224.h5": "unit"}


def run(folder: Path, *, is_quick: bool) -> list[harness.Outcome | harness.Table]:
    found = [_demo(folder)]
    for name, prepared in PUBLISHED.items():
        if (conftest.SHARED_DATA / name).exists() and not is_quick:
            photograph = conftest.SHARED_DATA / "parrot.jpg"
            found.append(_published(folder, conftest.SHARED_DATA / name, photograph, preprocessing.NAMED[prepared]))
    return [*found]


def _demo(folder: Path) -> harness.Table:
    with np.load(DEMO / "digits.npz", allow_pickle=False) as arrays:
        calibration, images, truth = (arrays[name] for name in ("calibration", "test_images", "test_labels"))
    unit = preprocessing.NAMED["unit"]
    real = unit.to_real(images)
    expected = formats.load(DEMO / "digits.h5").predict((real,))[0]
    rows = [("float", f"{_right(expected, truth)} of {len(truth)}", f"{_share(expected, truth):.2%}", "", "")]
    for kind, data in _int8_models(folder, DEMO / "digits.h5", calibration, unit):
        scores = _run(data, real)
        compared = fidelity.compare(kind, expected, scores)
        agreement = f"{compared.top1_agreement:.2%}"
        rows.append(
            (
                kind,
                f"{_right(scores, truth)} of {len(truth)}",
                f"{_share(scores, truth):.2%}",
                agreement,
                f"{compared.sqnr_db:.1f}",
            )
        )
    columns = ("model", "right", "accuracy", "same class as float", "SQNR dB")
    return harness.Table("The demo's model on its held-out pictures", columns, tuple(rows))


def _published(folder: Path, file: Path, photograph: Path, prepared: Preprocessing) -> harness.Table:
    model = formats.load(file)
    shape = model.inputs[0].shape[1:]
    calibration = _crops([np.asarray(Image.open(photograph).convert("RGB"))], shape)
    real = prepared.to_real(_crops(_photographs(), shape))
    expected = model.predict((real,))[0]
    rows = []
    for kind, data in _int8_models(folder, file, calibration, prepared):
        compared = fidelity.compare(kind, expected, _run(data, real))
        agreement = "" if compared.top1_agreement is None else f"{compared.top1_agreement:.1%}"
        rows.append((kind, agreement, f"{compared.sqnr_db:.1f}"))
    return harness.Table(
        f"{file.name} on {CROPS} crops of two photographs, against float",
        ("model", "same class as float", "SQNR dB"),
        tuple(rows),
        _spread_of(model, expected),
    )


def _spread_of(model: LoadedModel, expected: Array) -> str:
    """How much the float model's own answers differ over these pictures: agreement on equal answers is worth little."""
    if expected.shape[1] > 1:
        counts = np.bincount(expected.argmax(1), minlength=expected.shape[1])
        return f"Float's classes on these crops: {', '.join(map(str, counts))}."
    return f"Float's output {model.output_names[0]!r} on these crops: {expected.mean():.3f} ± {expected.std():.3f}."


def _int8_models(folder: Path, file: Path, calibration: Array, prepared: Preprocessing):
    """Name and `.tflite` of the model quantised in each way."""
    np.save(folder / "calibration.npy", calibration)
    real = convert.Options(calibration=folder / "calibration.npy")
    for options in (real, convert.Options(), convert.Options(quick=True)):
        chosen = replace(options, pairs="none", preprocessing=prepared, replaces_existing=True)
        made = convert.convert(file, folder / "calibrated.tflsplit", chosen)
        is_real = made.manifest.calibration.kind == "data"
        if options.quick or is_real or made.manifest.calibration.detail != "noise":  # else both ways are the same
            yield f"int8, {'real pictures' if is_real else made.manifest.calibration.detail}", made.model_bytes()


def _run(data: bytes, real: Array) -> Array:
    """Real outputs of an int8 model, for each of some real inputs."""
    with Interpreter(data) as interpreter:
        source, output = interpreter.inputs[0], interpreter.outputs[0]
        rows = [interpreter.run(quantise(row[None], source))[0] for row in real]
        return np.concatenate([dequantise(row, output) for row in rows])


def _photographs() -> list[Array]:
    """Two that come with scikit-learn: a palace and a flower."""
    from sklearn import datasets

    return [np.asarray(image) for image in datasets.load_sample_images().images]


def _crops(photographs: list[Array], shape: tuple[int, ...]) -> Array:
    """uint8 crops of half to all of a photograph's shorter side, some mirrored, resized to the model's input."""
    random = np.random.default_rng(5)
    height, width, _ = shape
    crops = []
    for number in range(CROPS):
        pixels = photographs[number % len(photographs)]
        scale = random.uniform(0.5, 1.0) * min(pixels.shape[0] / height, pixels.shape[1] / width)
        tall, wide = int(height * scale), int(width * scale)
        top, left = (int(random.integers(0, most + 1)) for most in (pixels.shape[0] - tall, pixels.shape[1] - wide))
        crop = pixels[top : top + tall, left : left + wide][:, :: random.choice((-1, 1))]
        crops.append(np.asarray(Image.fromarray(crop).resize((width, height), Image.Resampling.BILINEAR)))
    return np.stack(crops)


def _right(scores: Array, truth: Array) -> int:
    return int(np.sum(scores.argmax(1) == truth))


def _share(scores: Array, truth: Array) -> float:
    return float(np.mean(scores.argmax(1) == truth))
