"""Every cut of whole models, converted and verified: the tail of the head is the model, bit for bit."""

import pathlib
import shutil
from importlib import resources

import kinds
import numpy as np
import pytest

from converters import convert
from tflsplit.graph.interpreter import Interpreter
from tflsplit.package import reading, verify

# NumPy 2 says it of Keras reading its own TensorFlow variables.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SAMPLES = 3
# Distinct values in an output over all samples: a constant one shows a single value, or one for each element.
LIVELY_VALUES = 10
COMPILED_FOR_EDGE_TPU = b"edgetpu-custom-op"


@pytest.fixture(scope="module")
def keras():
    return pytest.importorskip("keras")


SMALL = {"two_inputs": kinds.two_inputs}
LARGE = {
    "unet": kinds.unet,
    "mlp": kinds.mlp,
    "two_outputs": kinds.two_outputs,
    "lstm": kinds.lstm,
    "dense_on_3d": kinds.dense_on_3d,
    "mobilenet_v2": kinds.application("MobileNetV2"),
    "efficientnet_b0": kinds.application("EfficientNetB0"),
    "resnet_50": kinds.application("ResNet50"),
    "inception_v3": kinds.application("InceptionV3"),
    "densenet_121": kinds.application("DenseNet121"),
}
MARKS = (pytest.mark.sweep, pytest.mark.timeout(1800))


@pytest.mark.parametrize("name", [*SMALL, *(pytest.param(name, marks=MARKS) for name in LARGE)])
def test_every_cut_of_a_model_is_bit_exact(keras, name, tmp_path):
    saved = tmp_path / f"{name}.keras"
    kinds.randomise((SMALL | LARGE)[name](keras)).save(saved)

    check_every_cut(saved, tmp_path, has_wide_cuts=name not in ("mlp", "lstm"))


def test_every_cut_of_the_demo_model_is_bit_exact(tmp_path):
    shipped = resources.files("tflsplit") / "demo" / "digits.h5"
    with resources.as_file(shipped) as file:
        saved = pathlib.Path(shutil.copy(file, tmp_path))

    check_every_cut(saved, tmp_path, has_wide_cuts=True)


@pytest.mark.sweep
@pytest.mark.timeout(1800)
def test_every_cut_of_public_quantised_models_is_bit_exact(shared_data, tmp_path):
    files = [file for file in sorted(shared_data.glob("*.tflite")) if COMPILED_FOR_EDGE_TPU not in file.read_bytes()]

    assert files
    for file in files:
        check_every_cut(file, tmp_path, has_wide_cuts=None)


def check_every_cut(saved, folder, *, has_wide_cuts):
    """`has_wide_cuts`: whether several tensors cross somewhere between `input` and `output`; None: not known."""
    made = convert.convert(saved, folder / f"{saved.stem}.tflsplit", convert.Options(pairs="none", quick=True))
    samples = verify.random_samples(made.manifest.inputs, SAMPLES)
    inner = made.cuts[1:-1]
    wide = sum(len(cut.boundary) > 1 for cut in inner)

    report = verify.verify(made, made.cuts, samples)

    print(f"{saved.stem}: {len(made.cuts)} cuts, {wide} of several tensors")  # shown by -rP
    assert report.mismatches == ()
    assert len(report.cuts_checked) == len(made.cuts)
    assert len(inner) > wide
    if has_wide_cuts is not None:
        assert (wide > 0) == has_wide_cuts
    check_lively(made, samples)


def check_lively(made: reading.Package, samples):
    """Equal outputs prove something only where different inputs give different ones."""
    with Interpreter(made.model_bytes()) as whole:
        runs = [whole.run(*sample) for sample in samples]
    for outputs in zip(*runs, strict=True):
        assert len({output.tobytes() for output in outputs}) == len(outputs)
        assert len(np.unique(np.stack(outputs))) >= min(LIVELY_VALUES, outputs[0].size)
