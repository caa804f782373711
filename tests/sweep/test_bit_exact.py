"""Every cut of whole models, converted and verified: the tail of the head is the model, bit for bit.

Weights and batch-normalisation statistics are random and logits come out without a softmax: over 1,000 classes of equal
chance an int8 softmax is the same constant for every input, and any two such outputs are equal.
"""

import pathlib
import shutil
from importlib import resources

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


def randomise(model, seed=7):
    """What training would have left: no two channels alike, and none dead."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if layer.__class__.__name__ == "BatchNormalization":
            channels = layer.moving_mean.shape
            if layer.gamma is not None:  # InceptionV3 has none
                layer.gamma.assign(rng.uniform(0.5, 1.5, channels))
            layer.beta.assign(rng.normal(0, 0.3, channels))
            layer.moving_mean.assign(rng.normal(0, 0.3, channels))
            layer.moving_variance.assign(rng.uniform(0.5, 1.5, channels))
    return model


def unet(keras):
    """Two levels down and up, with a skip connection at each."""

    def block(x, channels, name):
        x = keras.layers.Conv2D(channels, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
        return keras.layers.ReLU(name=f"{name}_relu")(keras.layers.BatchNormalization(name=f"{name}_bn")(x))

    picture = keras.Input((32, 32, 3), name="picture")
    first = block(picture, 8, "first")
    second = block(keras.layers.MaxPooling2D(name="down_1")(first), 16, "second")
    bottom = block(keras.layers.MaxPooling2D(name="down_2")(second), 32, "bottom")
    up = keras.layers.Conv2DTranspose(16, 2, strides=2, name="up_2")(bottom)
    third = block(keras.layers.Concatenate(name="skip_2")([second, up]), 16, "third")
    up = keras.layers.UpSampling2D(name="up_1")(third)
    fourth = block(keras.layers.Concatenate(name="skip_1")([first, up]), 8, "fourth")
    return keras.Model(picture, keras.layers.Conv2D(4, 1, name="mask")(fourth), name="unet")


def two_inputs(keras):
    picture, vector = keras.Input((16, 16, 3), name="picture"), keras.Input((6,), name="vector")
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="conv")(picture)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    y = keras.layers.Dense(8, activation="relu", name="embed")(vector)
    x = keras.layers.Concatenate(name="join")([x, y])
    return keras.Model([picture, vector], keras.layers.Dense(5, name="logits")(x), name="two_inputs")


def two_outputs(keras):
    picture = keras.Input((16, 16, 3), name="picture")
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="conv")(picture)
    early = keras.layers.Dense(3, name="early")(keras.layers.GlobalAveragePooling2D(name="early_pool")(x))
    x = keras.layers.Conv2D(12, 3, strides=2, activation="relu", name="deeper")(x)
    late = keras.layers.Dense(5, name="late")(keras.layers.GlobalMaxPooling2D(name="late_pool")(x))
    return keras.Model(picture, [early, late], name="two_outputs")


def mlp(keras):
    vector = keras.Input((20,), name="vector")
    x = keras.layers.Dense(32, activation="relu", name="hidden_1")(vector)
    x = keras.layers.Dense(16, activation="tanh", name="hidden_2")(x)
    return keras.Model(vector, keras.layers.Dense(4, name="logits")(x), name="mlp")


def lstm(keras):
    series = keras.Input((12, 6), name="series")
    x = keras.layers.Dense(8, activation="relu", name="embed")(series)
    x = keras.layers.LSTM(10, name="lstm")(x)
    return keras.Model(series, keras.layers.Dense(4, name="logits")(x), name="lstm")


def dense_on_3d(keras):
    """A block of an MLP-mixer: dense layers along both axes of (batch, tokens, channels), one after a transposition."""
    tokens = keras.Input((9, 16), name="tokens")
    x = keras.layers.Permute((2, 1), name="turn")(tokens)
    x = keras.layers.Dense(9, activation="relu", name="mix_tokens")(x)
    x = keras.layers.Add(name="add")([tokens, keras.layers.Permute((2, 1), name="turn_back")(x)])
    x = keras.layers.Dense(16, activation="relu", name="mix_channels")(x)
    return keras.Model(tokens, keras.layers.Dense(3, name="logits")(x), name="dense_on_3d")


def application(name):
    return lambda keras: getattr(keras.applications, name)(weights=None, classifier_activation=None)


SMALL = {"unet": unet, "two_inputs": two_inputs, "mlp": mlp}
# The LSTM is unrolled, its state crosses with its output.
LARGE = {
    "two_outputs": two_outputs,
    "lstm": lstm,
    "dense_on_3d": dense_on_3d,
    "mobilenet_v2": application("MobileNetV2"),
    "efficientnet_b0": application("EfficientNetB0"),
    "resnet_50": application("ResNet50"),
    "inception_v3": application("InceptionV3"),
    "densenet_121": application("DenseNet121"),
}
MARKS = (pytest.mark.sweep, pytest.mark.timeout(1800))


@pytest.mark.parametrize("name", [*SMALL, *(pytest.param(name, marks=MARKS) for name in LARGE)])
def test_every_cut_of_a_model_is_bit_exact(keras, name, tmp_path):
    saved = tmp_path / f"{name}.keras"
    randomise((SMALL | LARGE)[name](keras)).save(saved)

    check_every_cut(saved, tmp_path, has_wide_cuts=name != "mlp")


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
