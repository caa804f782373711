"""Which SavedModels are let through: what TensorFlow and both Kerases export, and no operation that reaches outside."""

import gc

import pytest

from converters.loading import formats, operations, quiet, saved_graph
from tflsplit import errors


def tables_and_text(tf, path):
    module = tf.Module()
    keys = tf.lookup.KeyValueTensorInitializer(tf.constant(["cat", "dog"]), tf.constant([0, 1], tf.int64))
    module.table = tf.lookup.StaticHashTable(keys, -1)
    module.serve = tf.function(
        lambda words: {"y": module.table.lookup(tf.strings.lower(words))},
        input_signature=[tf.TensorSpec([None], tf.string, name="words")],
    )
    tf.saved_model.save(module, path, signatures={"serving_default": module.serve})


def detector(tf, path):
    def detect(picture):
        small = tf.image.resize(tf.cast(picture, tf.float32) / 127.5 - 1.0, (16, 16))
        boxes = tf.reshape(small[..., :1], (1, -1, 1, 1)) + tf.zeros((1, 256, 1, 4))
        found = tf.image.combined_non_max_suppression(boxes, tf.reshape(small[..., 1:], (1, 256, 2)), 5, 5)
        turns = tf.while_loop(lambda count: count < 3, lambda count: (count + 1,), [tf.constant(0)])
        return {"boxes": found[0], "turns": turns[0]}

    module = tf.Module()
    module.serve = tf.function(detect, input_signature=[tf.TensorSpec((1, None, None, 3), tf.uint8, name="picture")])
    tf.saved_model.save(module, path, signatures={"serving_default": module.serve})


def of_tensorflow_1(tf, path):
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        entry = v1.placeholder(tf.float32, (1, 4), "x")
        weights = v1.get_variable("w", (4, 2), use_resource=True)
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, path, {"x": entry}, {"y": tf.matmul(entry, weights)})


def export_of_keras_3(tf, path):
    import keras

    layers = keras.layers
    picture = keras.Input((32, 32, 3))
    x = layers.Resizing(24, 24)(layers.RandomFlip()(layers.Rescaling(1 / 255)(picture)))
    x = layers.BatchNormalization()(layers.SeparableConv2D(4, 3)(x))
    x = layers.LSTM(3)(layers.Reshape((22, 88))(x))
    keras.Model(picture, layers.Dense(2, "softmax")(x)).export(path, verbose=False)


def application(tf, path):
    import keras

    keras.applications.MobileNetV3Small((32, 32, 3), weights=None).export(path, verbose=False)


def trained_with_tf_keras(tf, path):
    import tf_keras

    layers = tf_keras.layers
    model = tf_keras.Sequential([tf_keras.Input((6, 4)), layers.GRU(3), layers.Dropout(0.5), layers.Dense(2)])
    model.compile("adam", "mse")
    model.fit(tf.zeros((4, 6, 4)), tf.zeros((4, 2)), verbose=0)
    model.save(path, save_format="tf")


@pytest.mark.parametrize(
    "export",
    [
        *(tables_and_text, detector, of_tensorflow_1, export_of_keras_3),
        *(pytest.param(each, marks=pytest.mark.sweep) for each in (application, trained_with_tf_keras)),
    ],
    ids=lambda export: export.__name__,
)
def test_what_is_exported_in_earnest_is_let_through(export, tmp_path):
    tf = quiet.tensorflow()
    with quiet.silenced():
        export(tf, str(tmp_path / "m"))
    saved_graph.check(tmp_path / "m")


def save_with_resource(tf, path, **functions):
    """A module with a tracked resource, some of whose functions are given."""

    def quietly(*_):
        return None

    class Resource(tf.saved_model.experimental.TrackableResource):
        def _create_resource(self):
            functions.get("create", quietly)()
            return tf.raw_ops.MutableHashTableV2(key_dtype=tf.int64, value_dtype=tf.int64)

        def _initialize(self):
            functions.get("initialise", quietly)()

        def _destroy_resource(self):
            functions.get("destroy", quietly)()

    module = tf.Module()
    module.resource = Resource()
    module.serve = tf.function(lambda x: {"y": x * 2.0}, input_signature=[tf.TensorSpec((1, 4), tf.float32, name="x")])
    module.unused = tf.function(functions.get("unused", quietly), input_signature=[])
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.serve})


@pytest.mark.parametrize("place", ["create", "initialise", "destroy", "unused"])
@pytest.mark.parametrize("way", ["WriteFile", "SaveV2", "LoadDataset"])
def test_no_function_may_reach_outside_whether_a_signature_needs_it_or_not(tmp_path, place, way):
    tf = quiet.tensorflow()
    marker = tmp_path / "ran"
    ways = {
        "WriteFile": lambda: tf.io.write_file(str(marker), "x"),
        "SaveV2": lambda: tf.raw_ops.SaveV2(
            prefix=str(marker), tensor_names=["w"], shape_and_slices=[""], tensors=[tf.zeros(1)]
        ),
        "LoadDataset": lambda: tf.raw_ops.LoadDataset(
            path=str(marker),
            reader_func_other_args=[],
            output_types=[tf.float32],
            output_shapes=[[1]],
            reader_func=tf.function(lambda dataset: dataset).get_concrete_function(tf.TensorSpec((), tf.variant)),
        ),
    }

    def reach() -> None:
        ways[way]()

    with quiet.silenced():
        save_with_resource(tf, tmp_path / "m", **{place: reach})
        gc.collect()  # the resource is destroyed here, by what its `destroy` does
    for written in tmp_path.glob("ran*"):
        written.unlink()
    with pytest.raises(errors.ModelError, match=rf"{way} .* is not known to only compute"):
        formats.load(tmp_path / "m")
    assert not list(tmp_path.glob("ran*"))


def changed(path, change):
    from tensorflow.core.protobuf import saved_model_pb2

    file = path / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    change(saved.meta_graphs[0])
    file.write_bytes(saved.SerializeToString())


def named_by_an_object(meta):
    meta.object_graph_def.nodes.add().bare_concrete_function.concrete_function_name = _saver(meta)


def called_by_another(meta):
    served = next(iter(meta.object_graph_def.concrete_functions))
    body = next(entry for entry in meta.graph_def.library.function if entry.signature.name == served)
    body.node_def.add(name="own", op=_saver(meta))


def called_by_a_node(meta):
    meta.graph_def.node.add(name="own", op="StatefulPartitionedCall").attr["f"].func.name = _saver(meta)


def restored_by(meta):
    meta.saver_def.restore_op_name = meta.saver_def.save_tensor_name.split(":")[0]


def twice(meta):
    meta.graph_def.library.function.add().CopyFrom(meta.graph_def.library.function[0])


def primitive_as_a_function(meta):
    meta.graph_def.node.add(name="own", op="PartitionedCall").attr["f"].func.name = "WriteFile"


def _saver(meta):
    library = meta.graph_def.library.function
    return next(entry.signature.name for entry in library if any(node.op == "SaveV2" for node in entry.node_def))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (named_by_an_object, "ShardedFilename|SaveV2|MergeV2Checkpoints"),
        (called_by_another, "ShardedFilename|SaveV2|MergeV2Checkpoints"),
        (called_by_a_node, "ShardedFilename|SaveV2|MergeV2Checkpoints"),
        (restored_by, "(SaveV2|MergeV2Checkpoints|RestoreV2) .* is not known"),
        (twice, "two functions or nodes of one name"),
        (primitive_as_a_function, "calls 'WriteFile', which is not in the graph"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_saves_variables_serves_nothing_else(tmp_path, change, reason):
    with quiet.silenced():
        tables_and_text(quiet.tensorflow(), str(tmp_path / "m"))
    saved_graph.check(tmp_path / "m")
    changed(tmp_path / "m", change)
    with pytest.raises(errors.ModelError, match=reason):
        saved_graph.check(tmp_path / "m")


def test_every_operation_that_is_let_through_is_one_that_tensorflow_has():
    quiet.tensorflow()
    from tensorflow.python.framework import op_def_registry

    unknown = {name for name in operations.COMPUTING if op_def_registry.get(name) is None}
    assert len(unknown) < 20, unknown  # older and newer TensorFlows lack a few


@pytest.mark.parametrize("name", ["WriteFile", "ReadFile", "PyFunc", "XlaCallModule", "RemoteCall", "ImmutableConst"])
def test_what_reaches_outside_is_not_in_the_list(name):
    assert name not in operations.COMPUTING | operations.SAVING | operations.RESTORING
