"""Files of Keras 2.12 and 2.13, whose weights stand under other names.

Files that Keras 2.13.1 itself wrote (11 models, recurrent, nested and with attention) gave what it had predicted, to
1e-5; here the layout is made from one of tf-keras, which has the same attributes.
"""

import io
import zipfile

import h5py
import numpy as np

from converters.loading import formats, quiet


def _nested(keras):
    layers = keras.layers
    inner = keras.Sequential([layers.Conv2D(4, 3), layers.ReLU(), layers.Conv2D(4, 3)])
    entry = keras.Input((12, 12, 3))
    x = layers.Conv2D(3, 1)(layers.BatchNormalization()(entry))
    return keras.Model(entry, layers.Dense(2)(layers.Flatten()(inner(x))))


def _as_keras_213_wrote_it(path):
    """Each layer with weights counted twice among those of its class: as `layer_with_weights-0` and as `layer-1`."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    weights = io.BytesIO(members["model.weights.h5"])
    with h5py.File(weights, "r+") as file:
        _to_older(file)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, weights.getvalue() if name.endswith(".h5") else data)


def _to_older(group):
    for key in list(group):
        if isinstance(group[key], h5py.Group):
            _to_older(group[key])
    if "layers" in group:
        older = group.create_group("_layer_checkpoint_dependencies")
        for name in list(group["layers"]):
            kind, _, number = name.rpartition("_") if name[-1].isdigit() and "_" in name else (name, "", "0")
            has_weights = len(group["layers"][name]["vars"]) or len(group["layers"][name]) > 1
            place = int(number) * (2 if has_weights else 1)
            group.move(f"layers/{name}", f"{older.name}/{kind}_{place}" if place else f"{older.name}/{kind}")
        del group["layers"]


def test_weights_of_keras_213_are_found(tf_keras, saved):
    with quiet.silenced():
        tf_keras.utils.set_random_seed(0)
        model = _nested(tf_keras)
        sample = np.random.default_rng(0).random((1, 12, 12, 3), np.float32)
        expected = model(sample, training=False).numpy()
    path = saved(model, "m.keras")
    _as_keras_213_wrote_it(path)
    with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
        assert "layers" not in file
        assert "conv2d_2" in file["_layer_checkpoint_dependencies/sequential/_layer_checkpoint_dependencies"]

    np.testing.assert_allclose(formats.load(path).predict([sample])[0], expected, atol=1e-5)
