"""Models of each layer, network and kind of file for docs/measurements/models.md, and what becomes of each.

A case makes a file in a folder; `outcome` converts it as anyone does, proves every cut and says how near it is to
float, or gives the line that refuses it.
"""

import pathlib
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass

import networks
import numpy as np

import tflsplit
from converters.loading import quiet
from tflsplit import errors
from tflsplit.package import verify

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
SAMPLES = 64
PROOFS = 3


@dataclass(frozen=True, slots=True)
class Case:
    """`make` writes a model into a folder and gives its path, and samples to calibrate with where there are some."""

    name: str
    make: Callable[[pathlib.Path], tuple[pathlib.Path, np.ndarray | None]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """`sqnr_db` is the lowest of all outputs; None where there is no float model to compare with. `refused` is the line
    that the command line would print."""

    cuts: int = 0
    exact: bool = False
    sqnr_db: float | None = None
    refused: str = ""

    def __str__(self) -> str:
        if self.refused:
            return f"refused: {self.refused}"
        proof = f"{self.cuts} cuts, {'all exact' if self.exact else 'NOT EXACT'}"
        return proof if self.sqnr_db is None else f"{proof}, {self.sqnr_db:.0f} dB"


def outcome(case: Case, folder: pathlib.Path) -> Outcome:
    source, samples = case.make(folder)
    package = folder / "made.tflsplit"
    shutil.rmtree(package, ignore_errors=True)
    stated = {} if samples is None else {"calibration": samples, "preprocessing": "raw"}
    try:
        made = tflsplit.convert(source, package, pairs="none", **stated)
    except errors.TflsplitError as refused:
        return Outcome(refused=str(refused).replace(f"{source}: ", "").replace(str(folder), "…"))
    samples = verify.random_samples(made.manifest.inputs, PROOFS, table_sizes=made.table_sizes)
    report = verify.verify(made, made.cuts, samples)
    measured = [entry.sqnr_db for entry in made.manifest.fidelity]
    return Outcome(len(made.cuts), report.is_bit_exact, min(measured, default=None))


KERAS_3, KERAS_2 = "Keras 3", "tf-keras"


def _library(name):
    """Keras 3, or Keras 2 as it goes on in tf-keras; imported where a case is made."""
    quiet.tensorflow()
    with quiet.silenced():
        import keras
        import tf_keras
    return {KERAS_3: keras, KERAS_2: tf_keras}[name]


def saved(library_name, build, name="model.keras"):
    """Makes a case's file of a model that is built by `build(keras)`."""

    def make(folder):
        library = _library(library_name)
        with quiet.silenced():
            library.backend.clear_session()  # names of layers count from 0
            library.utils.set_random_seed(1)
            model = build(library)
            given = None  # ids are made by the converter
            if model.inputs[0].dtype == "float32":
                given = networks.samples(model, SAMPLES)
                networks.settled(model, given)
            model.save(folder / name)
        return folder / name, given

    return make


def network(name):
    return Case(name, saved(KERAS_3, networks.NETWORKS[name]))


def _on(shape, layer):
    """A layer between two others, on a picture or a series."""

    def build(keras):
        x = entry = keras.Input(shape)
        if len(shape) == 3:
            x = keras.layers.Conv2D(16, 3, padding="same")(keras.layers.Rescaling(1 / 127.5, -1)(x))
        else:
            x = keras.layers.Dense(16)(x)
        x = keras.layers.Flatten()(layer(keras)(x))
        return keras.Model(entry, keras.layers.Dense(5)(x))

    return build


_PICTURE, _SERIES = (12, 12, 3), (10, 8)


def _activation(name):
    return lambda keras: keras.layers.Activation(name)


def _called(name, *given, **options):
    return lambda keras: getattr(keras.layers, name)(*given, **options)


_ACTIVATIONS = ("elu", "exponential", "gelu", "hard_sigmoid", "relu", "relu6", "selu", "sigmoid", "softmax", "softplus",
                "softsign", "swish", "tanh")  # fmt: skip  # in one line they would be too long
_KERAS_3_ACTIVATIONS = ("celu", "hard_silu", "hard_tanh", "leaky_relu", "log_sigmoid", "mish")
_ON_PICTURES = {
    "AveragePooling2D": _called("AveragePooling2D", 2),
    "BatchNormalization": _called("BatchNormalization"),
    "Conv2D": _called("Conv2D", 8, 3),
    "Conv2D, dilated": _called("Conv2D", 8, 3, dilation_rate=2),
    "Conv2D, grouped": _called("Conv2D", 8, 3, groups=4),
    "Conv2DTranspose": _called("Conv2DTranspose", 8, 3, strides=2),
    "Cropping2D": _called("Cropping2D", 2),
    "DepthwiseConv2D": _called("DepthwiseConv2D", 3),
    "ELU": _called("ELU"),
    "GlobalAveragePooling2D": _called("GlobalAveragePooling2D"),
    "GlobalMaxPooling2D": _called("GlobalMaxPooling2D"),
    "GroupNormalization": _called("GroupNormalization", 4),
    "LayerNormalization": _called("LayerNormalization"),
    "LeakyReLU": _called("LeakyReLU"),
    "MaxPooling2D": _called("MaxPooling2D", 2),
    "Permute": _called("Permute", (3, 1, 2)),
    "PReLU": _called("PReLU", shared_axes=(1, 2)),
    "ReLU, clipped": _called("ReLU", max_value=1.5),
    "ReLU, sloped": _called("ReLU", max_value=6, negative_slope=0.1),
    "SeparableConv2D": _called("SeparableConv2D", 8, 3),
    "UnitNormalization": _called("UnitNormalization"),
    "UpSampling2D": _called("UpSampling2D"),
    "UpSampling2D, bilinear": _called("UpSampling2D", interpolation="bilinear"),
    "ZeroPadding2D": _called("ZeroPadding2D"),
} | {f"Activation {name!r}": _activation(name) for name in _ACTIVATIONS}
_ON_SERIES = {
    "Bidirectional(LSTM)": lambda keras: keras.layers.Bidirectional(keras.layers.LSTM(6)),
    "Conv1D": _called("Conv1D", 8, 3),
    "Conv1D, causal": _called("Conv1D", 8, 3, padding="causal", dilation_rate=2),
    "Dense": _called("Dense", 8),
    "GRU": _called("GRU", 6),
    "LSTM": _called("LSTM", 6),
    "LSTM, sequences": _called("LSTM", 6, return_sequences=True),
    "RNN([LSTMCell, GRUCell])": lambda keras: keras.layers.RNN([keras.layers.LSTMCell(6), keras.layers.GRUCell(6)]),
    "SimpleRNN": _called("SimpleRNN", 6),
    "TimeDistributed(Dense)": lambda keras: keras.layers.TimeDistributed(keras.layers.Dense(8)),
}


def layers(library_name):
    """Cases of layers for one of the two Kerases."""
    only_3 = {f"Activation {name!r}": _activation(name) for name in _KERAS_3_ACTIVATIONS}
    only_3["RMSNormalization"] = _called("RMSNormalization")
    pictures = _ON_PICTURES | (only_3 if library_name == KERAS_3 else {})
    cases = {name: _on(_PICTURE, layer) for name, layer in pictures.items()}
    cases |= {name: _on(_SERIES, layer) for name, layer in _ON_SERIES.items()}
    cases |= {"MultiHeadAttention": _attention, "Dot, cosine": _cosine, "Embedding": _embedding}
    return [Case(name, saved(library_name, build)) for name, build in sorted(cases.items())]


def _attention(keras):
    entry = keras.Input(_SERIES)
    x = keras.layers.Dense(16)(entry)
    x = keras.layers.MultiHeadAttention(2, 8)(x, x)
    return keras.Model(entry, keras.layers.Dense(5)(keras.layers.Flatten()(x)))


def _cosine(keras):
    entry = keras.Input((16,))
    pair = [keras.layers.Dense(8)(entry), keras.layers.Dense(8)(entry)]
    return keras.Model(entry, keras.layers.Dense(5)(keras.layers.Dot(1, normalize=True)(pair)))


def _embedding(keras):
    entry = keras.Input((12,), dtype="int32")
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(50, 8)(entry))
    return keras.Model(entry, keras.layers.Dense(5)(x))


def _small(keras):
    entry = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(8, 3, activation="relu")(entry)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(x)
    return keras.Model(entry, keras.layers.Dense(5)(keras.layers.GlobalAveragePooling2D()(x)))


def _as_saved_model(folder):
    keras = _library(KERAS_3)
    keras.utils.set_random_seed(1)
    model = _small(keras)
    given = networks.samples(model, SAMPLES)
    networks.settled(model, given)
    with quiet.silenced():
        model.export(folder / "saved_model", verbose=False)
    return folder / "saved_model", given


def _as_zip(folder):
    path, _ = saved(KERAS_2, _small, "keras_model.h5")(folder)
    with zipfile.ZipFile(folder / "converted_keras.zip", "w") as packed:
        packed.write(path, "keras_model.h5")
        packed.writestr("labels.txt", "".join(f"{place} class {place}\n" for place in range(5)))
    return folder / "converted_keras.zip", None


def _as_tflite(*, is_integer=False, kind=None, dynamic_range=False, float_ends=False):
    """As tutorials write it, with the batch left open."""

    def make(folder):
        tf = quiet.tensorflow()
        keras = _library(KERAS_2)
        keras.utils.set_random_seed(1)
        model = _small(keras)
        given = networks.samples(model, SAMPLES)
        networks.settled(model, given)
        with quiet.silenced():
            converter = tf.lite.TFLiteConverter.from_keras_model(model)
            if is_integer or kind or dynamic_range:
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
            if kind:
                converter.target_spec.supported_types = [getattr(tf, kind)]
            if is_integer:
                converter.representative_dataset = lambda: ([row[None].astype(np.float32)] for row in given)
                converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            if is_integer and not float_ends:
                converter.inference_input_type = converter.inference_output_type = tf.int8
            (folder / "model.tflite").write_bytes(converter.convert())
        return folder / "model.tflite", None if is_integer else given

    return make


def _pytorch(folder):
    path = shutil.copy(CHECKOUT / "tests" / "converters" / "digits_torch.tflite", folder)
    with np.load(CHECKOUT / "tflsplit" / "demo" / "digits.npz") as digits:
        return pathlib.Path(path), (digits["calibration"] / np.float32(255))


def files():
    """Kinds of files."""
    kinds = {
        "`.keras` of Keras 3": saved(KERAS_3, _small),
        "`.h5` of Keras 3": saved(KERAS_3, _small, "model.h5"),
        "`.keras` of tf-keras": saved(KERAS_2, _small),
        "`.h5` of tf-keras (Keras 2)": saved(KERAS_2, _small, "model.h5"),
        "SavedModel": _as_saved_model,
        "zip of Teachable Machine": _as_zip,
        "`.tflite`, int8": _as_tflite(is_integer=True),
        "`.tflite`, int8 with float ends": _as_tflite(is_integer=True, float_ends=True),
        "`.tflite`, float32": _as_tflite(),
        "`.tflite`, float16 weights": _as_tflite(kind="float16"),
        "`.tflite`, dynamic range": _as_tflite(dynamic_range=True),
        "`.tflite` of PyTorch (litert-torch)": _pytorch,
    }
    return [Case(name, make) for name, make in kinds.items()]


def _built(build, name="model.keras"):
    """A file of Keras 3 without samples."""

    def make(folder):
        keras = _library(KERAS_3)
        with quiet.silenced():
            keras.backend.clear_session()
            build(keras).save(folder / name)
        return folder / name, None

    return make


def _of_bytes(name, data):
    def make(folder):
        (folder / name).write_bytes(data)
        return folder / name, None

    return make


def _text_classifier(keras):
    entry = keras.Input((), dtype="string")
    ids = keras.layers.TextVectorization(output_sequence_length=8, vocabulary=["a", "b"])(entry)
    return keras.Model(entry, keras.layers.Embedding(10, 4)(ids))


def _with_code(keras):
    return keras.Sequential([keras.Input((8,)), keras.layers.Lambda(lambda x: x / 2 + 1, output_shape=(8,))])


def _with_own_layer(keras):
    class Squash(keras.layers.Layer):
        def call(self, x):
            return x / (1 + x * x)

    return keras.Sequential([keras.Input((8,)), Squash(), keras.layers.Dense(2)])


def _stateful(keras):
    entry = keras.Input((5, 4), batch_size=1)
    return keras.Model(entry, keras.layers.Dense(2)(keras.layers.LSTM(3, stateful=True)(entry)))


def _any_size(keras):
    return keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(4, 3)])


def refused():
    """What is not opened, and why."""
    cases = {
        "text as input": _built(_text_classifier),
        "a Lambda with code": _built(_with_code),
        "a layer of one's own": _built(_with_own_layer),
        "a stateful LSTM": _built(_stateful),
        "an input of any size": _built(_any_size),
        "ONNX": _of_bytes("model.onnx", b"\x08\x08\x12\x07pytorch"),
        "a pickle of PyTorch": _of_bytes("model.pt", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."),
        "a Git LFS pointer": _of_bytes(
            "model.h5", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
        ),
        "half a file": _of_bytes("model.tflite", b"\x1c\x00\x00\x00TFL3\x14\x00"),
    }
    return [Case(name, make) for name, make in cases.items()]


def public(folder):
    """The models in a folder of public files, by their names in it."""

    def make(path):
        return lambda _: (path, None)

    paths = (path for ending in ("tflite", "h5", "keras", "zip") for path in folder.rglob(f"*.{ending}"))
    return [Case(path.name, make(path)) for path in sorted(paths, key=lambda path: path.name)]
