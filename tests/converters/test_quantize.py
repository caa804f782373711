"""One conversion to full int8, and what it refuses."""

import pytest

from converters import quantize
from converters.loading import quiet
from tflsplit import errors
from tflsplit.graph import flatgraph


def small(k):
    return k.Sequential(
        [k.Input((8, 8, 3)), k.layers.Conv2D(4, 3, name="conv"), k.layers.Flatten(), k.layers.Dense(5, name="dense")]
    )


@pytest.mark.parametrize("io_dtype", ["int8", "uint8"])
def test_inputs_and_outputs_have_the_type_asked_for_and_static_batch_one(load_built, samples, io_dtype):
    model = load_built(small)
    graph = flatgraph.read(quantize.quantise(model, samples(model), io_dtype=io_dtype))

    assert [spec.dtype for spec in graph.specs((*graph.inputs, *graph.outputs))] == [io_dtype, io_dtype]
    assert graph.specs(graph.inputs)[0].shape == (1, 8, 8, 3)
    assert not any(tensor.is_dynamic for tensor in graph.tensors)


@pytest.mark.parametrize(("per_tensor", "scales"), [(False, 5), (True, 1)])
def test_dense_layers_have_one_scale_where_the_edge_tpu_needs_it(load_built, samples, per_tensor, scales):
    model = load_built(small)
    graph = flatgraph.read(quantize.quantise(model, samples(model), per_tensor_dense=per_tensor))
    dense = next(operator for operator in graph.operators if operator.name == "FULLY_CONNECTED")

    assert graph.tensors[dense.inputs[1]].scale_count == scales


def test_an_operator_without_an_int8_kernel_is_refused_with_its_layer(load_built, samples):
    def build(k):
        entry = k.Input((4, 8, 8, 3))
        return k.Model(entry, k.layers.Conv3D(2, (1, 3, 3), name="video")(entry))

    model = load_built(build)
    with pytest.raises(errors.ModelError, match=r"no CONV_3D \(layer video\)") as caught:
        quantize.quantise(model, samples(model))
    assert "\n" not in str(caught.value)


def test_an_operator_that_tflite_lacks_is_refused_with_its_layer(load_built, samples):
    def build(k):
        entry = k.Input((8,))
        return k.Model(entry, k.ops.erfinv(k.layers.Dense(4, activation="tanh", name="dense")(entry)))

    model = load_built(build)
    with pytest.raises(errors.ModelError, match=r"no Erfinv \(layer erfinv\)") as caught:
        quantize.quantise(model, samples(model))
    assert "\n" not in str(caught.value)


def test_nothing_is_printed_while_converting(load_built, samples, capfd):
    model = load_built(small)
    capfd.readouterr()
    quantize.quantise(model, samples(model))

    assert capfd.readouterr() == ("", "")


def test_a_loop_in_a_saved_model_is_refused_because_it_would_crash_the_process(tmp_path):
    from converters.loading import formats

    tf = quiet.tensorflow()
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec((1, 4), tf.float32, name="x")])
    def serve(x):
        return {"y": tf.while_loop(lambda y: tf.reduce_sum(y) < 10.0, lambda y: (y + 1.0,), (x,))[0]}

    module.serve = serve
    with quiet.silenced():
        tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": serve})
    with pytest.raises(errors.ModelError, match="has a loop"):
        formats.load(tmp_path)


def unquantised(model, **options):
    tf = quiet.tensorflow()
    with quiet.silenced():
        converter = tf.lite.TFLiteConverter.from_concrete_functions([model.concrete_function()])
        for name, value in options.items():
            setattr(converter, name, value)
        return flatgraph.read(converter.convert())


def test_float_hybrid_and_float16_files_are_told_apart_and_refused(load_built):
    tf = quiet.tensorflow()
    # Weights of fewer than 1,024 elements stay in float.
    model = load_built(lambda k: k.Sequential([k.Input((64,)), k.layers.Dense(64), k.layers.Dense(64)]))
    default = [tf.lite.Optimize.DEFAULT]

    found = {
        "is float, expected int8": unquantised(model),
        "is hybrid": unquantised(model, optimizations=default),
        "on float16 weights": unquantised(model, optimizations=default, target_spec=float16_target(tf)),
    }
    for reason, graph in found.items():
        with pytest.raises(errors.ModelError, match=reason):
            quantize.check_is_integer(graph, "m.tflite")


def float16_target(tf):
    target = tf.lite.TargetSpec()
    target.supported_types = [tf.float16]
    return target


@pytest.mark.parametrize("name", ["tf2_mobilenet_v2_1.0_224_ptq.tflite", "mobilenet_v1_0.25_128_quant.tflite"])
def test_public_integer_files_are_accepted(shared_data, name):
    quantize.check_is_integer(flatgraph.read((shared_data / name).read_bytes()), name)
