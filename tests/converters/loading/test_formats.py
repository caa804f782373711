"""Opening model files of every kind, and refusing what is none."""

import pathlib
import zipfile

import h5py
import numpy as np
import pytest

from converters.loading import formats, quiet
from converters.loading.formats import Format
from tflsplit import errors


def small(library):
    return library.Sequential(
        [
            library.layers.InputLayer(shape=(8, 8, 3))
            if library.__name__ == "keras"
            else library.layers.InputLayer((8, 8, 3)),
            library.layers.DepthwiseConv2D(3, name="depthwise"),
            library.layers.Flatten(name="flat"),
            library.layers.Dense(4, activation="softmax", name="digit"),
        ]
    )


def expected(model, array):
    with quiet.silenced():
        return np.asarray(model(array, training=False))


@pytest.mark.parametrize("name", ["m.h5", "m.keras"])
@pytest.mark.parametrize("library", ["keras", "tf_keras"])
def test_files_of_both_kerases_open_and_compute_what_was_saved(request, saved, library, name):
    library = request.getfixturevalue(library)
    model = small(library)
    loaded = formats.load(saved(model, name))
    array = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)

    assert loaded.loader == f"{library.__name__} {library.__version__}"
    assert loaded.format == name[2:]
    assert [entry.shape for entry in loaded.inputs] == [(1, 8, 8, 3)]
    assert [tap.layer for tap in loaded.layers] == ["depthwise", "flat", "digit"]
    np.testing.assert_allclose(loaded.predict([array])[0], expected(model, array), atol=1e-5)


def test_nothing_is_printed_while_loading_and_running(keras, saved, capfd):
    path = saved(small(keras), "m.h5")
    capfd.readouterr()
    formats.load(path).predict([np.zeros((1, 8, 8, 3), np.float32)])

    assert capfd.readouterr() == ("", "")


def test_a_wrong_version_in_the_file_falls_back_to_the_other_loader(keras, saved):
    path = saved(keras.Sequential([keras.Input(batch_shape=(None, 4)), keras.layers.Dense(2)]), "m.h5")
    with h5py.File(path, "a") as file:
        file.attrs["keras_version"] = "2.4.0"

    assert formats.load(path).loader.startswith("keras 3")


def test_a_layer_that_no_keras_has_is_named_with_what_to_do(keras, saved):
    path = saved(small(keras), "m.h5")
    with h5py.File(path, "a") as file:
        file.attrs["model_config"] = file.attrs["model_config"].replace("DepthwiseConv2D", "NoSuchLayer")

    with pytest.raises(errors.ModelError, match=r"layer 'depthwise' \(class NoSuchLayer\).*model\.export") as caught:
        formats.load(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_no_loader_opens_has_the_reason_of_the_keras_that_wrote_it(keras, saved):
    path = saved(small(keras), "m.h5")
    with h5py.File(path, "a") as file:
        file.attrs["model_config"] = file.attrs["model_config"].replace('"softmax"', '"softmax", "units": -1')

    with pytest.raises(errors.ModelError, match=r"no loader opens it \(keras: .*units") as caught:
        formats.load(path)
    assert not {"\n", "\x1b"} & set(str(caught.value))


def test_a_file_is_known_by_its_content_not_by_its_ending(keras, saved):
    path = saved(small(keras), "m.h5")
    renamed = path.rename(path.with_name("m.model"))

    assert formats.recognise(renamed) is Format.HDF5
    assert len(formats.load(renamed).layers) == 3


def test_inner_layers_of_nested_models_are_shown_by_name_and_by_path_where_names_collide(keras, load_built):
    def nested(k):
        part = lambda name: k.Sequential(  # noqa: E731 - twice the same, under two names
            [k.Input((4,)), k.layers.Dense(4, name="same"), k.layers.Dense(4, name=f"only_{name}")], name=name
        )
        return k.Sequential([k.Input((4,)), k.Sequential([k.Input((4,)), part("a")], name="outer"), part("b")])

    names = [tap.layer for tap in load_built(nested).layers]

    assert names == ["outer/a/same", "only_a", "b/same", "only_b"]


def test_a_layer_called_twice_is_numbered(load_built):
    def shared(k):
        entry, dense = k.Input((4,)), k.layers.Dense(4, name="dense")
        return k.Model(entry, dense(dense(entry)))

    assert [tap.layer for tap in load_built(shared).layers] == ["dense", "dense#2"]


def test_two_inputs_and_outputs_keep_their_order_and_names(load_built):
    def build(k):
        left, right = k.Input((3,), name="z_left"), k.Input((5,), name="a_right")
        return k.Model([left, right], [k.layers.Dense(2, name="z")(left), k.layers.Dense(1, name="a")(right)])

    model = load_built(build)
    outputs = model.predict([np.ones((4, 3), np.float32), np.ones((4, 5), np.float32)])

    assert [entry.name for entry in model.inputs] == ["z_left", "a_right"]
    assert model.output_names == ("z", "a")
    assert [output.shape for output in outputs] == [(4, 2), (4, 1)]


def test_inputs_taken_as_a_dictionary_work(load_built):
    def build(k):
        entries = {"b": k.Input((3,), name="b"), "a": k.Input((5,), name="a")}
        return k.Model(entries, k.layers.Concatenate()([entries["b"], entries["a"]]))

    model = load_built(build)

    assert {entry.name: entry.shape for entry in model.inputs} == {"a": (1, 5), "b": (1, 3)}
    assert model.predict([np.ones((1, *entry.shape[1:]), np.float32) for entry in model.inputs])[0].shape == (1, 8)


def open_sized(k):
    entry = k.Input((None, None, 3), name="image")
    return k.Model(entry, k.layers.GlobalAveragePooling2D()(k.layers.Conv2D(2, 3)(entry)))


def test_an_open_input_size_is_refused_saying_which_option_to_give(load_built):
    with pytest.raises(errors.ModelError, match=r"--input-shape 224,224,3"):
        load_built(open_sized)


@pytest.mark.parametrize("shapes", [[(16, 20, 3)], {"image": (16, 20, 3)}])
def test_a_given_input_shape_fixes_it(load_built, shapes):
    assert load_built(open_sized, input_shapes=shapes).inputs[0].shape == (1, 16, 20, 3)


@pytest.mark.parametrize("shapes", [[(16, 20, 1)], [(16, 20)], [(1, 2, 3), (4, 5, 6)], {"picture": (16, 20, 3)}])
def test_a_given_input_shape_that_does_not_fit_is_refused(load_built, shapes):
    with pytest.raises(errors.ModelError):
        load_built(open_sized, input_shapes=shapes)


def test_truncated_files_are_refused_in_one_line(keras, saved):
    for name in ("m.h5", "m.keras"):
        path = saved(small(keras), name)
        path.write_bytes(path.read_bytes()[:-200])
        with pytest.raises(errors.ModelError, match=r"truncated") as caught:
            formats.load(path)
        assert "\n" not in str(caught.value)


def test_what_is_no_model_is_refused(tmp_path):
    (tmp_path / "text.h5").write_text("hello")
    (tmp_path / "empty.keras").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        archive.writestr("a.txt", "a")
    for name in ("text.h5", "empty.keras", "folder", "other.keras", "absent.h5"):
        with pytest.raises(errors.ModelError, match=name):
            formats.load(tmp_path / name)


def test_a_file_of_weights_alone_is_refused_saying_so(keras, tmp_path):
    path = tmp_path / "m.weights.h5"
    with quiet.silenced():
        small(keras).save_weights(path)
    with pytest.raises(errors.ModelError, match=r"weights but no model"):
        formats.load(path)


@pytest.mark.parametrize("library", ["keras", "tf_keras"])
def test_saved_models_open_by_their_serving_signature_and_show_layers(request, library, tmp_path):
    model = small(request.getfixturevalue(library))
    with quiet.silenced():
        (model.export if library == "keras" else model.save)(str(tmp_path / "m"))
    loaded = formats.load(tmp_path / "m")
    array = np.random.default_rng(0).random((1, 8, 8, 3), np.float32)

    assert loaded.format == "saved_model"
    assert [tap.layer for tap in loaded.layers] == ["depthwise", "flat", "digit"]
    np.testing.assert_allclose(loaded.predict([array])[0], expected(model, array), atol=1e-5)


def test_a_damaged_saved_model_is_refused(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"\xff" * 40)
    with pytest.raises(errors.ModelError, match=r"damaged"):
        formats.load(tmp_path)


def test_a_functional_model_of_tensorflow_operations_opens(tf_keras, saved):
    entry = tf_keras.Input((4,))
    tf = quiet.tensorflow()
    with quiet.silenced():
        model = tf_keras.Model(entry, tf.nn.relu(tf_keras.layers.Dense(3, name="dense")(entry)) * 2.0)

    assert next(tap.layer for tap in formats.load(saved(model, "m.h5")).layers) == "dense"


@pytest.mark.sweep  # tests of layers map the same file
def test_a_teachable_machine_export_shows_the_layers_inside_its_nested_models(shared_data: pathlib.Path):
    model = formats.load(shared_data / "teachable_machine_keras24.h5")
    names = [tap.layer for tap in model.layers]

    assert model.loader.startswith("tf_keras")
    assert {"Conv1_relu", "block_16_project_BN", "dense_Dense1"} <= set(names)


def test_a_keras_224_file_opens(shared_data: pathlib.Path):
    model = formats.load(shared_data / "driving_keras224.h5")

    assert (model.inputs[0].shape, model.predict([np.zeros((1, 66, 200, 3), np.float32)])[0].shape) == (
        (1, 66, 200, 3),
        (1, 1),
    )


@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_a_layer_of_the_users_own_is_named_with_its_class(keras, saved, suffix):
    class Doubling(keras.layers.Layer):
        def call(self, value):
            return value * 2

    source = keras.Input((4,))
    path = saved(keras.Model(source, keras.layers.Dense(2)(Doubling(name="twice")(source))), f"model.{suffix}")

    with pytest.raises(errors.ModelError, match=r"layer 'twice'.*Doubling"):
        formats.load(path)


@pytest.fixture
def two_signatures(keras, tmp_path):
    """A SavedModel whose signatures `left` and `right` end in two and in three classes."""
    left, right = (keras.Sequential([keras.Input((4,)), keras.layers.Dense(units)]) for units in (2, 3))
    archive = keras.export.ExportArchive()
    for name, model in (("left", left), ("right", right)):
        archive.track(model)
        archive.add_endpoint(name, model.call, input_signature=[model.inputs[0]])
    with quiet.silenced():
        archive.write_out(str(tmp_path / "m"), verbose=False)
    return tmp_path / "m"


def test_a_signature_is_chosen_by_its_name(two_signatures):
    models = [formats.load(two_signatures, signature=name) for name in ("left", "right")]
    assert [tuple(model.concrete_function().outputs[0].shape) for model in models] == [(1, 2), (1, 3)]


def test_without_the_right_signature_all_are_listed(two_signatures):
    with pytest.raises(errors.ModelError, match=r"no signature 'middle'; say --signature with one of .*left, right"):
        formats.load(two_signatures, signature="middle")


def test_of_several_signatures_none_is_guessed(tmp_path):
    tf = quiet.tensorflow()
    module = tf.Module()
    spec = tf.TensorSpec((1, 4), tf.float32, name="x")
    named = {name: tf.function(lambda x: {"y": x * 2}).get_concrete_function(spec) for name in ("left", "right")}
    with quiet.silenced():
        tf.saved_model.save(module, str(tmp_path), signatures=named)
    with pytest.raises(errors.ModelError, match=r"several signatures .*--signature with one of left, right"):
        formats.load(tmp_path)


def test_a_signature_of_a_keras_file_is_refused(keras, saved):
    with pytest.raises(errors.SettingsError, match="--signature is for SavedModel folders"):
        formats.load(saved(small(keras), "m.keras"), signature="left")


def test_a_sequential_that_was_never_called_is_told_by_its_layer_what_helps(either_keras, saved):
    model = either_keras.Sequential([either_keras.layers.Dense(4, name="first"), either_keras.layers.Dense(2)])
    path = saved(model, "m.keras")
    with pytest.raises(errors.ModelError, match=r"layer 'first' no weights yet; make it with keras\.Input"):
        formats.load(path)
