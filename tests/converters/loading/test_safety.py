"""Files that hold code, or point outside themselves, are refused before anything in them runs."""

import io
import json
import os
import zipfile

import h5py
import numpy as np
import pytest

from converters.loading import formats, quiet, safety
from tflsplit import errors


def with_lambda(library, marker, wrapped):
    """A model whose Lambda layer creates a file whenever it runs."""
    mark = f"{marker}"
    layer = library.layers.Lambda(lambda x: (open(mark, "w").close(), x)[1], output_shape=(4,))
    if wrapped:
        layer = library.layers.TimeDistributed(layer)
    entry = library.Input((3, 4) if wrapped else (4,))
    return library.Model(entry, library.layers.Dense(2)(layer(entry)))


@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "in TimeDistributed"])
@pytest.mark.parametrize("name", ["m.h5", "m.keras"])
def test_a_lambda_layer_is_refused_and_nothing_of_it_runs(either_keras, saved, tmp_path, name, wrapped):
    marker = tmp_path / "ran"
    with quiet.silenced():
        model = with_lambda(either_keras, marker, wrapped)
    path = saved(model, name)
    marker.unlink(missing_ok=True)

    with pytest.raises(errors.ModelError, match=r"Lambda layer holds code.*--allow-unsafe"):
        formats.load(path)
    assert not marker.exists()


def test_allow_unsafe_opens_a_lambda_layer_and_runs_it(keras, saved, tmp_path):
    marker = tmp_path / "ran"
    with quiet.silenced():
        model = with_lambda(keras, marker, wrapped=False)
    path = saved(model, "m.keras")
    marker.unlink(missing_ok=True)
    formats.load(path, allow_unsafe=True).predict([np.zeros((1, 4), np.float32)])

    assert marker.exists()


DANGEROUS = {
    "class of another module": {"class_name": "Popen", "module": "subprocess", "config": {"args": "true"}},
    "function that downloads": {"class_name": "get_file", "module": "keras.utils", "config": {}},
    "switch that turns checks off": {
        "class_name": "enable_unsafe_deserialization",
        "module": "keras.config",
        "config": {},
    },
    "loader of other files": {"class_name": "load_model", "module": "keras.models", "config": "x.h5"},
    "evaluation": {"class_name": "eval", "module": "builtins", "config": "1"},
    "lambda": {"class_name": "__lambda__", "config": {"value": "x"}},
    "source of a function": {"class_name": "function", "module": "builtins", "config": {"code": "x"}},
    "registered custom class": {"class_name": "Mine", "module": None, "registered_name": "Custom>Mine", "config": {}},
    "custom class of Keras 2": {"class_name": "Custom>Mine", "config": {}},
    "TensorFlow function that writes": {
        "class_name": "TFOpLambda",
        "config": {"name": "w", "function": "io.write_file"},
    },
    "TensorFlow function that runs Python": {"class_name": "TFOpLambda", "config": {"function": "py_function"}},
    "raw operation": {"class_name": "TensorFlowOpLayer", "config": {"node_def": {"op": "ReadFile"}}},
    "vocabulary file": {"class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}},
    "pickled module": {"class_name": "TorchModuleWrapper", "module": "keras.layers", "config": {}},
}


@pytest.mark.parametrize("entry", DANGEROUS.values(), ids=DANGEROUS)
def test_dangerous_configurations_are_refused_at_any_depth_with_their_place(entry):
    nested = {"class_name": "Bidirectional", "config": {"name": "outer", "layer": {"deep": [1, [entry]]}}}
    with pytest.raises(errors.ModelError, match=r"m.h5: layer 'outer'"):
        safety.check_config({"class_name": "Sequential", "config": {"layers": [nested]}}, "m.h5")


HARMLESS = (
    {"class_name": "TFOpLambda", "config": {"function": "math.multiply"}},
    {"class_name": "TFOpLambda", "config": {"function": "compat.v1.reshape"}},
    {"class_name": "SlicingOpLambda", "config": {"function": "__operators__.getitem"}},
    {"class_name": "Functional", "module": "keras.src.models.functional", "config": {"name": "m"}},
    {"class_name": "Functional", "module": "keras.src.engine.functional", "config": {"name": "m"}},
    {"class_name": "GlorotUniform", "module": "keras.initializers", "registered_name": None, "config": {}},
    {"class_name": "DTypePolicy", "module": "keras", "config": {"name": "float32"}},
    {"class_name": "function", "module": "builtins", "config": "relu", "registered_name": "relu"},
    {"class_name": "Add", "module": "keras.src.ops.numpy", "config": {"name": "add"}},
    {"class_name": "StringLookup", "config": {"vocabulary": ["a", "b"]}},
)


@pytest.mark.parametrize("entry", HARMLESS, ids=lambda entry: entry["class_name"])
def test_what_only_computes_is_let_through(entry):
    safety.check_config({"config": {"layers": [entry]}}, "m.h5")


def hdf5(**links):
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["model_config"] = "{}"
        group = file.create_group("weights")
        for name, link in links.items():
            group[name] = link
    buffer.seek(0)
    return buffer


@pytest.mark.parametrize(
    "link", [h5py.ExternalLink("/etc/passwd", "/"), h5py.SoftLink("/../other")], ids=["external", "soft"]
)
def test_links_in_an_hdf5_file_are_refused(tmp_path, link):
    path = tmp_path / "m.h5"
    path.write_bytes(hdf5(stolen=link).read())
    with pytest.raises(errors.ModelError, match=r"weights/stolen is an? (external|soft) link"):
        formats.load(path)


def test_weights_kept_in_another_file_are_refused(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(16))
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.create_dataset("w", (4,), "f4", external=[(str(tmp_path / "secret"), 0, 16)])
    with pytest.raises(errors.ModelError, match=r"/w keeps its data in another file"):
        formats.load(tmp_path / "m.h5")


def test_virtual_datasets_are_refused(tmp_path):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "w", (4,))
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.create_virtual_dataset("w", layout)
    with pytest.raises(errors.ModelError, match=r"another file"):
        formats.load(tmp_path / "m.h5")


def test_absurdly_large_weights_are_refused_without_reading_them(tmp_path):
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.create_dataset("w", (10**12,), "f4", chunks=(1024,))
    with pytest.raises(errors.ModelError, match=r"declares 4,000,000,000,000 bytes"):
        formats.load(tmp_path / "m.h5")


def archive(path, members):
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


BASIC = {
    "config.json": json.dumps({"class_name": "Sequential", "config": {}}),
    "metadata.json": '{"keras_version": "3.0"}',
}


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "..\\evil", "C:/evil"])
def test_members_that_climb_out_of_a_keras_archive_are_refused(tmp_path, name):
    with pytest.raises(errors.ModelError, match=r"climbs out"):
        formats.load(archive(tmp_path / "m.keras", BASIC | {name: "x"}))


def test_links_in_a_keras_archive_are_refused(tmp_path):
    link = zipfile.ZipInfo("assets/link")
    link.external_attr = 0o120777 << 16
    with pytest.raises(errors.ModelError, match=r"is a link"):
        formats.load(archive(tmp_path / "m.keras", {link: "/etc/passwd"} | BASIC))


def test_links_in_the_weights_inside_a_keras_archive_are_refused(tmp_path):
    weights = hdf5(stolen=h5py.ExternalLink("/etc/passwd", "/")).read()
    with pytest.raises(errors.ModelError, match=r"external link"):
        formats.load(archive(tmp_path / "m.keras", BASIC | {"model.weights.h5": weights}))


def saved_with(function, path):
    tf = quiet.tensorflow()
    module = tf.Module()
    module.serve = tf.function(function, input_signature=[tf.TensorSpec((1, 4), tf.float32, name="x")])
    with quiet.silenced():
        tf.saved_model.save(module, str(path), signatures={"serving_default": module.serve})


def test_a_saved_model_that_touches_files_is_refused_before_it_is_loaded(tmp_path):
    tf = quiet.tensorflow()
    marker = os.fspath(tmp_path / "ran")

    def function(x):
        with tf.control_dependencies([tf.io.write_file(marker, "x")]):
            return {"y": x * 2.0}

    saved_with(function, tmp_path / "m")
    with pytest.raises(errors.ModelError, match=r"WriteFile .* is not known to only compute"):
        formats.load(tmp_path / "m")
    assert not os.path.exists(marker)
    assert formats.load(tmp_path / "m", allow_unsafe=True).output_names == ("y",)


def test_a_signature_that_reads_checkpoints_is_refused_though_every_saved_model_can(tmp_path):
    tf = quiet.tensorflow()
    saved_with(
        lambda x: {
            "y": x
            + tf.raw_ops.RestoreV2(prefix="/tmp/any", tensor_names=["w"], shape_and_slices=[""], dtypes=[tf.float32])[0]
        },
        tmp_path / "m",
    )

    with pytest.raises(errors.ModelError, match=r"RestoreV2"):
        formats.load(tmp_path / "m")
